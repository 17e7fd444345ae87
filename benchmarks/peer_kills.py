"""What an answer is worth: readings that were acknowledged over HTTP and are gone after ``kill -9``, ours and a peer's.

Both are loaded by the same clients during an outage of the uplink and killed in the middle; then their files are read.
Rates, CPU and memory are of the same load without the kill. The peer is ThingsBoard IoT Gateway
(``benchmarks/thingsboard.py``), the one of our peers that is an ordinary Python package; where it cannot be installed,
only ours is printed.
"""

import itertools
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figure import ROOT, Figure, cpu_seconds, rss_mb
from benchmarks.thingsboard import PATH, ThingsBoardGateway, install
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.hub import hub_in_thread
from tests.fakes.mosquitto import Mosquitto

KILLS = 5
SECONDS_BEFORE_KILL = 3.0
SECONDS = 5.0
CLIENTS = 8
OUR_PATH = "/v1/devices/{device}/readings"
_FIRST = itertools.count(10_000_000, 10_000_000)  # no number is used twice


@dataclass(frozen=True, slots=True, kw_only=True)
class _Losses:
    """What was answered with 200 before the kills, and how much of it no file holds."""

    acknowledged: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return f"{self.lost} of {self.acknowledged}"

    def and_then(self, acknowledged: set[int], stored: set[int]) -> "_Losses":
        """Add a kill's."""
        return _Losses(acknowledged=self.acknowledged + len(acknowledged), lost=self.lost + len(acknowledged - stored))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """Of a run without a kill."""

    per_s: float
    median_ms: float
    cpu_ms: float
    rss_mb: float


def measure() -> Iterator[Figure]:
    """Yield losses, rate, latency, CPU and memory; the column "bare limit" holds the peer's."""
    python = install()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        losses, cost = _ours(folder)
        theirs, never, peer = _thingsboard(python, folder) if python else (None, None, None)
    yield _loss_figure("the uplink went down while it ran", losses, theirs)
    yield _loss_figure("started with the uplink down", losses, never)
    for text, unit, key, more_is_better in (
        ("acknowledged readings/s", "/s", "per_s", True),
        ("median time to the answer", " ms", "median_ms", False),
        ("CPU per acknowledged reading, all processes", " ms", "cpu_ms", False),
        ("memory under that load, all processes", " MB", "rss_mb", False),
    ):
        mine = getattr(cost, key)
        its = None if peer is None else getattr(peer, key)
        yield Figure(
            name=f"{text} (right: ThingsBoard Gateway)",
            ours=f"{mine:.3g}{unit}",
            bare="" if its is None else f"{its:.3g}{unit}",
            ratio=None if its is None else (mine / its if more_is_better else its / mine),
        )


def _loss_figure(when: str, ours: _Losses, peer: _Losses | None) -> Figure:
    return Figure(
        name=f"acknowledged readings lost by {KILLS} kill -9, {when} (right: ThingsBoard Gateway, SQLite)",
        ours=str(ours),
        bare="cannot be installed here" if peer is None else str(peer),
        ratio=None,
        aim="0",
    )


def _ours(folder: Path) -> tuple[_Losses, _Cost]:
    with hub_in_thread(folder / "hub") as hub:
        hub.set_faults(reject_connect=3)
        gateway = GatewayProcess(folder / "ours", environment=hub.environment())
        with gateway:
            cost = _cost(gateway.http.removeprefix("http://"), OUR_PATH, gateway.processes())
        losses = _Losses()
        for _ in range(KILLS):
            gateway.start()
            client = _load(gateway.http.removeprefix("http://"), OUR_PATH)
            time.sleep(SECONDS_BEFORE_KILL)
            gateway.kill()
            losses = losses.and_then(_acknowledged(client), _stored(folder / "ours" / "outbox.db"))
    return losses, cost


def _thingsboard(python: Path, folder: Path) -> tuple[_Losses, _Losses, _Cost]:
    """Return its losses after an outage that began while it ran, after one that it was started in, and its cost."""
    platform = Mosquitto(folder / "platform", conf=None)
    gateway = ThingsBoardGateway(python, folder / "peer", platform_port=platform.port)
    with platform:
        gateway.start(platform=True)
    cost = _cost(gateway.where, PATH, [gateway.pid])
    gateway.kill()
    running = started = _Losses()
    for _ in range(KILLS):
        with platform:
            gateway.start(platform=True)
        running = running.and_then(*_peer_round(gateway))
        gateway.start(platform=False)
        started = started.and_then(*_peer_round(gateway))
    return running, started, cost


def _peer_round(gateway: ThingsBoardGateway) -> tuple[set[int], set[int]]:
    client = _load(gateway.where, PATH)
    time.sleep(SECONDS_BEFORE_KILL)
    gateway.kill()
    return _acknowledged(client), gateway.stored()


def _load(where: str, path: str, seconds: float = SECONDS_BEFORE_KILL + 30) -> subprocess.Popen[str]:
    """Start the clients; they end when nobody answers."""
    arguments = [where, path, str(CLIENTS), str(seconds), str(next(_FIRST))]
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.numbered_client", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def _cost(where: str, path: str, pids: list[int]) -> _Cost:
    before = sum(map(cpu_seconds, pids))
    answer = _answer(_load(where, path, SECONDS))
    done = len(answer["acknowledged"])
    cpu_ms = (sum(map(cpu_seconds, pids)) - before) * 1000 / done
    return _Cost(per_s=done / SECONDS, median_ms=answer["median_ms"], cpu_ms=cpu_ms, rss_mb=sum(map(rss_mb, pids)))


def _acknowledged(client: subprocess.Popen[str]) -> set[int]:
    return set(_answer(client)["acknowledged"])


def _answer(client: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = client.communicate()
    assert client.returncode == 0
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer


def _stored(file: Path) -> set[int]:
    connection = sqlite3.connect(file)
    rows = connection.execute("SELECT result FROM events").fetchall()
    connection.close()
    return {json.loads(result)["n"] for (result,) in rows}
