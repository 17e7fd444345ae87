"""Watching a gateway while it is attacked: a good device that goes on sending, its process's memory, its event loop.

The good device comes from an address of its own (127.0.0.2): the attacker is somebody else. What it sees is what
counts: each reading acknowledged, and how long that and a bare /healthz took, which is a turn of the event loop.
"""

import http.client
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.fakes.gateway_process import ROOT, GatewayProcess

GOOD_ADDRESS = "127.0.0.2"
PAUSE_S = 0.02
# What a device that is told 503 does: it comes again; beyond this it is not served.
PATIENCE_S = 60.0
# A turn of the loop, without what others on the machine took of the cores meanwhile: milliseconds as a rule.
LOOP_S_MAX = 5.0


def resident_mib(pid: int) -> float:
    """Return what a process holds in memory now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def waited_for_a_core_s(pid: int, thread_id: int) -> float:
    """Return how long a thread was ready to run while others had the cores, since it began; 0 where nobody counts."""
    try:
        return int(Path(f"/proc/{pid}/task/{thread_id}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


@dataclass
class Watch:
    """What was seen meanwhile."""

    gateway: GatewayProcess
    served: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    before_mib: float = 0
    high_mib: float = 0

    def assert_unharmed(self, *, growth_mib_max: float, served_min: int = 5) -> None:
        """The device was served all along, the loop turned, and memory stayed within bounds."""
        assert not self.troubles, self.troubles[:3]
        assert len(self.served) >= served_min, f"{len(self.served)} readings acknowledged"
        assert max(self.turns) < LOOP_S_MAX, f"a turn of the event loop took {max(self.turns):.1f} s"
        growth = self.high_mib - self.before_mib
        assert growth < growth_mib_max, f"{growth:.0f} MiB more, from {self.before_mib:.0f}"

    def wait_for_more(self, count: int = 5, *, timeout_s: float = 2 * PATIENCE_S) -> None:
        """Return when ``count`` more readings were served: now, not when the attack is over."""
        wanted = len(self.served) + count
        give_up_at = time.monotonic() + timeout_s
        while len(self.served) < wanted:
            missing = wanted - len(self.served)
            assert time.monotonic() < give_up_at, f"{missing} of {count} readings not served in {timeout_s:g} s"
            time.sleep(0.01)

    def core_waits_s(self) -> float:
        """Return how long the gateway's loop and the thread that asks it have waited for a core in all."""
        ours = waited_for_a_core_s(os.getpid(), threading.get_native_id())
        return ours + waited_for_a_core_s(self.gateway.worker_pid, self.gateway.worker_pid)

    def look(self) -> None:
        self.high_mib = max(self.high_mib, resident_mib(self.gateway.worker_pid))


class GoodDevice:
    """Sends a reading, again until it is acknowledged, and asks for /healthz; then hangs up and connects anew."""

    def __init__(self, url: str, token: str = "") -> None:
        self._address = urlsplit(url).netloc
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection = self._new()

    def _new(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address, timeout=PATIENCE_S, source_address=(GOOD_ADDRESS, 0))

    def ask(self, method: str, path: str, body: bytes | None = None, key: str = "") -> int:
        """Return the status; 0 if the connection broke."""
        try:
            headers = self._headers | ({"Idempotency-Key": key} if key else {})
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            self._connection = self._new()
            return 0
        return answer.status

    def close(self) -> None:
        self._connection.close()


def _go_on(watch: Watch, stop: threading.Event, token: str) -> None:
    device = GoodDevice(watch.gateway.http, token)
    run = time.monotonic_ns()
    for number in itertools.count():
        if stop.is_set():
            break
        key, started, status = f"good-{run}-{number}", time.monotonic(), 0
        while (waited := time.monotonic() - started) < PATIENCE_S and status != 200:
            status = device.ask("POST", "/v1/devices/good/readings", json.dumps({"n": number}).encode(), key)
            if status != 200:
                time.sleep(0.05)
        if status != 200:
            watch.troubles.append(f"reading {number}: {status} after {waited:.1f} s")
            continue
        watch.served.append(time.monotonic() - started)
        watch.keys.append(key)
        started, waited_s = time.monotonic(), watch.core_waits_s()
        if device.ask("GET", "/healthz") == 200:
            watch.turns.append(time.monotonic() - started - (watch.core_waits_s() - waited_s))
        watch.look()
        device.close()
        time.sleep(PAUSE_S)
    device.close()


@contextmanager
def under_watch(gateway: GatewayProcess, *, token: str = "") -> Iterator[Watch]:
    """Watch from before the block until after it."""
    watch = Watch(gateway)
    watch.before_mib = watch.high_mib = resident_mib(gateway.worker_pid)
    stop = threading.Event()
    thread = threading.Thread(target=_go_on, args=(watch, stop, token), name="good-device")
    thread.start()
    give_up_at = time.monotonic() + PATIENCE_S
    while not watch.turns and time.monotonic() < give_up_at:
        time.sleep(0.01)
    try:
        yield watch
    finally:
        time.sleep(0.2)
        stop.set()
        thread.join()
        watch.look()


@contextmanager
def crowd(url: str, count: int, *kinds: str) -> Iterator[None]:
    """Return when every connection of a crowd (slow_crowd.py) has been opened once; it stays until the block ends."""
    port = str(urlsplit(url).port)
    command = [sys.executable, "-m", "tests.fakes.slow_crowd", port, str(count), *kinds]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as attackers:
        try:
            assert attackers.stdout is not None
            assert attackers.stdout.readline() == "there\n"
            yield
        finally:
            attackers.kill()
