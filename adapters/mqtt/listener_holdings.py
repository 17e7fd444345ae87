"""What all connections hold beside granted publishes: parts of packets, and what devices have not read yet.

Each connection has its own bounds (``listener_wire``, ``codec``), which are far too much for hundreds at once. The sum
is bounded here: when half of it is used, less is read at a time, so that a device that only sends fast never comes
near; beyond it, the connection that holds most is cut: one that reads nothing, or sends no packet to its end.
"""

from typing import Protocol


class Holder(Protocol):
    """A connection."""

    def cut(self) -> None:
        """End at once, and forget what is held."""


class Holdings:
    """Bytes by connection. Those that hold nothing take no place."""

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._held: dict[Holder, int] = {}
        self.held_bytes = 0

    @property
    def is_tight(self) -> bool:
        """Whether to read no more than is needed."""
        return self.held_bytes > self._bytes_max // 2

    def note(self, holder: Holder, byte_count: int) -> None:
        """Take note of what a connection holds now; if that is too much over all, those that hold most are cut."""
        if not byte_count:
            self.held_bytes -= self._held.pop(holder, 0)
            return
        self.held_bytes += byte_count - self._held.get(holder, 0)
        self._held[holder] = byte_count
        while self.held_bytes > self._bytes_max:
            greediest = max(self._held, key=self._held.__getitem__)
            self.held_bytes -= self._held.pop(greediest)
            greediest.cut()
