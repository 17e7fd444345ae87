"""A private bus with simulated cameras in a process of their own, and the three who may receive from them in turn."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.figure import DEMO_MODEL, ROOT, cpu_seconds
from gateway.simulators.bluez.private_bus import ADDRESS_VARIABLE
from tests.fakes.gateway_process import GatewayProcess

# What leads to a receiver's start is not measured: the first picture waits until it listens, and warms it up.
WARM_UP_PICTURES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    """What the cameras send: how many at once, how fast each (0: as fast as the bus takes it), and what."""

    cameras: int
    bytes_per_s: int
    mtu: int
    picture: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One round. ``cpu_s`` is the receiver's own, all its threads."""

    byte_count: int
    seconds: float
    cpu_s: float

    @property
    def bytes_per_s(self) -> float:
        return self.byte_count / self.seconds

    @property
    def cpu_ms_per_mb(self) -> float:
        return 1000 * self.cpu_s / (self.byte_count / 1e6)


class Cameras:
    """The process of the cameras. Use as a context manager."""

    def __init__(self, folder: Path, radio: Radio) -> None:
        self._radio = radio
        numbers = map(str, (radio.cameras, radio.mtu, radio.bytes_per_s))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ble_cameras", str(folder), *numbers, str(radio.picture)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.bus = self._line()

    def measure(self, receiver_pid: int, pictures: int) -> Received:
        """Return what it took to hand over so many pictures of each camera, warm-up excluded."""
        self._hand_over(WARM_UP_PICTURES)
        cpu_before = cpu_seconds(receiver_pid)
        seconds = self._hand_over(pictures)
        byte_count = self._radio.picture.stat().st_size * self._radio.cameras * pictures
        return Received(byte_count=byte_count, seconds=seconds, cpu_s=cpu_seconds(receiver_pid) - cpu_before)

    def drop_links(self) -> None:
        """End the links of a receiver that is gone, so that the next one finds the cameras advertising."""
        self._hand_over(0)

    def _hand_over(self, pictures: int) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{pictures}\n")
        self._process.stdin.flush()
        return float(json.loads(self._line())["seconds"])

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the process of the cameras ended"
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate("")


@contextmanager
def bare_bleak(bus: str, radio: Radio) -> Iterator[int]:
    """Yield the process id of bleak with a callback that looks at no picture."""
    yield from _module("benchmarks.bare_bleak", str(radio.cameras), bus=bus)


@contextmanager
def without_model(bus: str, folder: Path) -> Iterator[int]:
    """Yield the process id of the gateway's BLE path with a classifier that knows nothing."""
    yield from _module("benchmarks.ble_without_model", str(folder / "without-model"), bus=bus)


@contextmanager
def whole_gateway(bus: str, folder: Path, *, model: Path = DEMO_MODEL) -> Iterator[int]:
    """Yield the process id of a gateway."""
    environment = {
        ADDRESS_VARIABLE: bus,
        "GATEWAY_BLE__ENABLED": "true",
        "GATEWAY_BLE__UNLISTED_CAMERAS": "true",
        "GATEWAY_LIMITS__MEMORY_BUDGET_MB": "512",
    }
    with GatewayProcess(folder / "gateway", environment=environment, model=model) as gateway:
        yield gateway.worker_pid


def _module(name: str, *arguments: str, bus: str) -> Iterator[int]:
    environment = os.environ | {ADDRESS_VARIABLE: bus}
    process = subprocess.Popen(
        [sys.executable, "-m", name, *arguments], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
