"""How much of what a broker sent may be in our memory: the bound that no broker keeps for us.

mosquitto's in-flight window grows with every reconnect, so a count that the broker promises bounds nothing. When the
budget is used up the network thread stops reading its socket: TCP then holds the broker back.

Shared by the network thread (takes) and the event loop (gives back), hence the lock. It outlives a connection: what
is still in work from the last one counts.
"""

import threading


class Budget:
    """Places and bytes."""

    def __init__(self, *, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._count = 0
        self._bytes = 0

    def has_room(self, byte_count: int) -> bool:
        """Tell whether a message of ``byte_count`` may be read. The first always may: it could never be smaller."""
        with self._lock:
            return self._count == 0 or (self._count < self._count_max and self._bytes + byte_count <= self._bytes_max)

    def take(self, byte_count: int) -> None:
        """Count a message that was read."""
        with self._lock:
            self._count += 1
            self._bytes += byte_count

    def give_bytes(self, byte_count: int) -> None:
        """Stop counting its payload."""
        with self._lock:
            self._bytes -= byte_count

    def give_place(self) -> None:
        """Stop counting it: it is acknowledged or abandoned."""
        with self._lock:
            self._count -= 1

    @property
    def held(self) -> tuple[int, int]:
        """Messages and bytes now."""
        with self._lock:
            return self._count, self._bytes
