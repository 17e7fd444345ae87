"""What the devices of the demo remember: what they were told is on disk. One logbook for all; any thread may write."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """How one device stands. ``last`` is what the gateway said last, for people; ``picture`` what it said that of.

    ``is_told`` is False for a device whose protocol has no word for "on disk".
    """

    device_id: str
    way: str
    is_told: bool
    accepted: int
    put_off: int
    last: str
    picture: bytes = field(default=b"", repr=False)


@dataclass(slots=True, kw_only=True)
class _Device:
    way: str
    is_told: bool
    accepted: int = 0
    put_off: int = 0
    last: str = ""
    shown: bytes = b""  # what it took last, and may be sending still
    picture: bytes = b""


class Logbook:
    """Submissions by (device, id), with the sequence where the device was told one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._devices: dict[str, _Device] = {}
        self._accepted: dict[tuple[str, str], int | None] = {}

    def enter(self, device_id: str, way: str, *, is_told: bool = True) -> None:
        """Introduce a device."""
        with self._lock:
            self._devices[device_id] = _Device(way=way, is_told=is_told)

    def watching(self, device_id: str, pictures: Iterator[bytes]) -> Iterator[bytes]:
        """Yield a device's pictures, and remember the one that it took last."""
        for picture in pictures:
            with self._lock:
                self._devices[device_id].shown = picture
            yield picture

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
            device = self._devices[device_id]
            device.accepted += (device_id, submission_id) not in self._accepted
            self._accepted[device_id, submission_id] = sequence
            device.last, device.picture = said, device.shown

    def promises(self) -> dict[tuple[str, str], int | None]:
        """Return everything that devices were told is on disk."""
        with self._lock:
            return dict(self._accepted)

    def lines(self) -> list[Line]:
        """Return the devices in order of their entry."""
        with self._lock:
            return [
                Line(
                    device_id=device_id,
                    way=one.way,
                    is_told=one.is_told,
                    accepted=one.accepted,
                    put_off=one.put_off,
                    last=one.last,
                    picture=one.picture if one.is_told else one.shown,
                )
                for device_id, one in self._devices.items()
            ]
