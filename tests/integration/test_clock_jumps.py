"""A real gateway on a board without a clock of its own: it starts in 1970, finds the time, and loses it again.

libfaketime owns the wall clock of the gateway's process; the clocks that count from the start are the machine's.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway import RELEASED_AT
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.hub import RunningHub, hub_in_thread
from tests.fakes.ledger import items

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
IN_1970 = datetime(1970, 1, 2, tzinfo=UTC)
THE_TIME = RELEASED_AT + timedelta(days=120, hours=12)  # any that can be right
# A look at the clock is every 10 s; the machine that runs this may be slow.
NOTICED_TIMEOUT_S = 40.0
ARRIVED_TIMEOUT_S = 40.0


class Board:
    """A gateway whose wall clock is set by the test."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._date = folder / "date"
        self.set_clock(IN_1970)
        fake_time = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._date),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # boot clock and monotonic clock are the machine's own
            "TZ": "UTC",
            "GATEWAY_CLOCK__TRUST": "always",  # what the kernel says is of the machine's clock, not of this one
        }
        self.gateway = GatewayProcess(folder / "data", environment=environment | fake_time)

    def set_clock(self, moment: datetime) -> None:
        """Let the wall clock say ``moment`` + the seconds since the gateway's start."""
        new = self._date.with_suffix(".new")
        new.write_text(moment.strftime("@%Y-%m-%d %H:%M:%S\n"))
        new.rename(self._date)

    def send(self, name: str) -> dict[str, Any]:
        """Send a reading and return its receipt."""
        answer = requests.post(
            f"{self.gateway.http}/v1/devices/board/readings",
            json={"name": name},
            headers={"Idempotency-Key": name},
            timeout=20,
        )
        answer.raise_for_status()
        receipt: dict[str, Any] = answer.json()
        return receipt

    def clock(self) -> dict[str, Any]:
        """Return what the gateway says of its clock."""
        state: dict[str, Any] = requests.get(f"{self.gateway.admin}/healthz", timeout=20).json()["clock"]
        return state

    def wait_for_trust(self) -> None:
        deadline = time.monotonic() + NOTICED_TIMEOUT_S
        while not self.clock()["trusted"]:
            assert time.monotonic() < deadline, f"the clock is {self.clock()}"
            time.sleep(0.2)


@contextmanager
def board(folder: Path, hub: RunningHub) -> Iterator[Board]:
    if not LIBRARIES:
        pytest.skip("missing package: faketime")
    made = Board(folder, hub.environment())
    with made.gateway:
        yield made


def arrived(hub: RunningHub, count: int) -> dict[str, dict[str, Any]]:
    """Return the items by name, once ``count`` have arrived."""
    deadline = time.monotonic() + ARRIVED_TIMEOUT_S
    while len(found := {item["submission_id"]: item for _, item in items(hub.messages)}) < count:
        assert time.monotonic() < deadline, f"{sorted(found)} arrived"
        time.sleep(0.1)
    return found


def when(item: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(item["received_at"])


def test_events_of_1970_leave_corrected_once_the_time_is_known_and_a_jump_back_spoils_nothing(tmp_path: Path) -> None:
    with hub_in_thread(tmp_path) as hub:
        hub.set_faults(reject_connect=3)
        with board(tmp_path, hub) as site:
            began = time.monotonic()
            early = site.send("early")
            assert (early["clock"], early["received_at"][:4]) == ("unsynced", "1970")
            site.set_clock(THE_TIME)
            site.send("unnoticed")
            site.wait_for_trust()
            known = site.send("known")
            assert (known["clock"], known["received_at"][:10]) == ("synced", f"{THE_TIME:%Y-%m-%d}")
            site.set_clock(IN_1970)
            lost = site.send("lost")
            assert (lost["clock"], lost["received_at"][:4]) == ("unsynced", "1970")
            hub.set_faults()
            told = arrived(hub, 4)
            elapsed = timedelta(seconds=time.monotonic() - began)
        assert [told[name]["clock"] for name in ("early", "unnoticed", "known", "lost")] == [
            "corrected",
            "corrected",
            "synced",
            "corrected",
        ]
        times = [when(told[name]) for name in ("early", "unnoticed", "known", "lost")]
        assert times == sorted(times)
        assert times[-1] - times[0] <= elapsed
        assert THE_TIME <= times[2] < THE_TIME + timedelta(minutes=5)
