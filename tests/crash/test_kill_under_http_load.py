"""kill -9 of the whole gateway under HTTP load, while it forwards: what was acknowledged is there.

``SOAK_ROUNDS`` sets how often (8 by default). Acknowledged keys are recorded here, outside the gateway.
"""

import itertools
import os
import random
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.hub import hub_in_thread
from tests.fakes.ledger import assert_gap_free, deduplicated, stored
from tests.fakes.pictures import small_picture

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "8"))
SENDERS = 4
IN_FLIGHT_SHARE_MIN = 0.8
DRAIN_TIMEOUT_S = 60.0


class Load:
    """Threads that post distinct pictures with keys of their own, and remember each 200."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, int] = {}
        self.in_flight = 0
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, url: str) -> None:
        self._stop.clear()
        self._threads = [threading.Thread(target=self._send, args=(url,)) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _send(self, url: str) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                number = next(self._numbers)
                with self._lock:
                    self.in_flight += 1
                try:
                    self._post(session, url, f"key-{number}", small_picture(number))
                except (requests.RequestException, ValueError):
                    time.sleep(0.02)
                finally:
                    with self._lock:
                        self.in_flight -= 1

    def _post(self, session: requests.Session, url: str, key: str, data: bytes) -> None:
        answer = session.post(f"{url}/v1/devices/cam-1/images", data=data, headers={"Idempotency-Key": key}, timeout=20)
        if answer.status_code == 200:
            self.acknowledged[key] = answer.json()["sequence"]


@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_everything_acknowledged_before_a_kill_is_stored_and_reaches_the_hub(tmp_path: Path) -> None:
    rng = random.Random(20261123)
    load = Load()
    kills_in_flight = 0
    with hub_in_thread(tmp_path) as hub, ExitStack() as at_end:
        at_end.callback(load.stop)  # also of a test that fails
        for _ in range(ROUNDS):
            gateway = GatewayProcess(tmp_path / "data", environment=hub.environment())
            gateway.start()
            load.start(gateway.http)
            time.sleep(rng.uniform(0.2, 1.2))
            kills_in_flight += load.in_flight > 0
            gateway.kill()
            load.stop()

            rows = stored(tmp_path / "data")
            assert load.acknowledged.items() <= rows.items()
            assert_gap_free(rows.values())
        assert kills_in_flight >= IN_FLIGHT_SHARE_MIN * ROUNDS
        assert load.acknowledged, "no submission was acknowledged: the test showed nothing"

        with GatewayProcess(tmp_path / "data", environment=hub.environment()):
            rows = stored(tmp_path / "data")
            deadline = time.monotonic() + DRAIN_TIMEOUT_S
            while deduplicated(hub.messages) != rows and time.monotonic() < deadline:
                time.sleep(0.2)
        assert deduplicated(hub.messages) == rows
        assert load.acknowledged.items() <= rows.items()
