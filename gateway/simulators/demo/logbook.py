"""What the devices of the demo remember: what they were told is on disk. One logbook for all; any thread may write."""

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How one device stands. ``last`` is what the gateway said last, for people."""

    device_id: str
    way: str
    attempts: int
    accepted: int
    put_off: int
    last: str


@dataclass(slots=True, kw_only=True)
class _Device:
    way: str
    attempts: int = 0
    put_off: int = 0
    last: str = ""


class Logbook:
    """Submissions by (device, id), with the sequence where the device was told one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._devices: dict[str, _Device] = {}
        self._accepted: dict[tuple[str, str], int | None] = {}
        self._ended_s: list[float] = []

    def enter(self, device_id: str, way: str) -> None:
        """Introduce a device."""
        with self._lock:
            self._devices[device_id] = _Device(way=way)

    def tried(self, device_id: str) -> None:
        """Note that a device sends something."""
        with self._lock:
            self._devices[device_id].attempts += 1

    def put_off(self, device_id: str, why: str) -> None:
        """Note that a device was not answered, or told to come again: it keeps what it has."""
        with self._lock:
            self._devices[device_id].put_off += 1
            self._devices[device_id].last = why

    def said(self, device_id: str, what: str) -> None:
        """Note what a device says of itself, where its protocol says nothing."""
        with self._lock:
            self._devices[device_id].last = what

    def accepted(self, device_id: str, submission_id: str, sequence: int | None, said: str) -> None:
        """Note that a device was told: on disk."""
        with self._lock:
            self._accepted[device_id, submission_id] = sequence
            self._devices[device_id].last = said

    def promises(self) -> dict[tuple[str, str], int | None]:
        """Return everything that devices were told is on disk."""
        with self._lock:
            return dict(self._accepted)

    def lines(self) -> list[Line]:
        """Return the devices in order of their entry."""
        with self._lock:
            counts: dict[str, int] = {}
            for device_id, _ in self._accepted:
                counts[device_id] = counts.get(device_id, 0) + 1
            return [
                Line(
                    device_id=device_id,
                    way=one.way,
                    attempts=one.attempts,
                    accepted=counts.get(device_id, 0),
                    put_off=one.put_off,
                    last=one.last,
                )
                for device_id, one in self._devices.items()
            ]
