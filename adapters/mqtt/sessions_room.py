"""Bytes of messages that wait in all sessions together, for the device or for its PUBACK. Pure.

Each session has its own bound; a thousand of them would be far too much. The sum is bounded here: beyond it the
session that holds most loses its oldest message.
"""

from typing import Protocol

# What a message takes beside its topic and payload: three objects, and its place in a queue.
MESSAGE_OVERHEAD_BYTES = 256


class Holder(Protocol):
    """A session."""

    def drop_oldest(self) -> None:
        """Forget a message, and say so by ``give``."""


def cost_bytes(topic: str, payload: bytes) -> int:
    """Return what a message takes."""
    return len(topic) + len(payload) + MESSAGE_OVERHEAD_BYTES


class WaitingRoom:
    """Who holds how much. Those that hold nothing take no place."""

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held: dict[Holder, int] = {}
        self._evicted = 0
        self.used_bytes = 0

    def take(self, holder: Holder, cost: int) -> None:
        """Count a message; others are dropped if there is no room for all."""
        self._held[holder] = self._held.get(holder, 0) + cost
        self.used_bytes += cost
        while self.used_bytes > self._bytes_max:
            max(self._held, key=self._held.__getitem__).drop_oldest()
            self._evicted += 1

    def give(self, holder: Holder, cost: int) -> None:
        """Stop counting a message."""
        self.used_bytes -= cost
        left = self._held[holder] - cost
        if left:
            self._held[holder] = left
        else:
            del self._held[holder]

    def take_evicted(self) -> int:
        """Return how many messages were dropped here since the last call."""
        evicted, self._evicted = self._evicted, 0
        return evicted
