"""Who is in reach and whose turn it is to be connected. Pure: time is passed in.

Fair: of those that may be connected now, the one goes first whose last turn ended longest ago. A failed turn makes a
device wait, twice as long each time, so that one that is broken takes no turns from the others.
"""

from dataclasses import dataclass
from typing import Generic, TypeVar

# A connect from an older advertisement mostly fails: the device has gone back to sleep (Home Assistant's habluetooth
# works from fresh ones, too).
FRESH_S = 10.0
BACKOFF_INITIAL_S = 1.0
BACKOFF_MAX_S = 60.0
# Strangers may come under ever new addresses: those not heard longest are forgotten beyond this.
DEVICES_MAX = 512

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Standing(Generic[T]):
    """What is known of one device. ``seen`` is the newest sighting; ``linked`` ones do not go stale."""

    seen: T
    seen_at: float
    linked: bool = False
    busy: bool = False
    failures: int = 0
    not_before: float = 0.0
    last_turn_s: float = float("-inf")


class Roster(Generic[T]):
    """The devices by address."""

    def __init__(self, *, devices_max: int = DEVICES_MAX) -> None:
        self._devices: dict[str, Standing[T]] = {}
        self._devices_max = devices_max

    def saw(self, address: str, sighting: T, now_s: float, *, linked: bool = False) -> None:
        """Take note of an advertisement, or of a link that was found."""
        known = self._devices.get(address)
        if known is None:
            self._make_room()
            self._devices[address] = Standing(seen=sighting, seen_at=now_s, linked=linked)
            return
        known.seen, known.seen_at, known.linked = sighting, now_s, linked

    def next(self, now_s: float) -> tuple[str, T] | None:
        """Return whose turn it is, or None when nobody may be connected now."""
        waiting = self._waiting(now_s)
        if not waiting:
            return None
        address = min(waiting, key=lambda one: (self._devices[one].last_turn_s, self._devices[one].seen_at))
        return address, self._devices[address].seen

    def anybody_waits(self, now_s: float) -> bool:
        """Whether a device wants a turn that it does not have."""
        return bool(self._waiting(now_s))

    def began(self, address: str) -> None:
        """Take note that a device has its turn."""
        self._devices[address].busy = True

    def ended(self, address: str, now_s: float, *, failed: bool, jitter: float, rest_s: float = 0.0) -> None:
        """Take note that a turn is over. It wants none for ``rest_s``; after a failed one it waits, by ``jitter``."""
        known = self._devices[address]
        known.busy = known.linked = False
        known.last_turn_s = now_s
        # A sighting from before the link tells nothing about now.
        known.seen_at = float("-inf")
        known.failures = known.failures + 1 if failed else 0
        known.not_before = now_s + (backoff_s(known.failures) * (0.5 + jitter / 2) if failed else rest_s)

    def _waiting(self, now_s: float) -> list[str]:
        return [
            address
            for address, known in self._devices.items()
            if not known.busy and now_s >= known.not_before and (known.linked or now_s - known.seen_at <= FRESH_S)
        ]

    def _make_room(self) -> None:
        if len(self._devices) < self._devices_max:
            return
        idle = [address for address, known in self._devices.items() if not known.busy]
        if idle:
            del self._devices[min(idle, key=lambda one: self._devices[one].seen_at)]


def backoff_s(failures: int) -> float:
    """Return the wait after so many failures in a row: 1, 2, 4 ... 60 s."""
    return min(BACKOFF_INITIAL_S * 2.0 ** (failures - 1), BACKOFF_MAX_S)
