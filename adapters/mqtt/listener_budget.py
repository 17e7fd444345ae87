"""Bytes of publishes that the listener may hold, over all connections: while they are read, wait and are worked on.

A connection asks before it reads a PUBLISH, for the whole of it, and waits its turn: first come, first served, so that
a large one is not starved by small ones. Whoever was granted can finish without asking again, so nobody waits for
each other. Beside the budget each connection holds at most what one read brought (``listener_link.READ_BYTES``).
"""

from collections import OrderedDict
from collections.abc import Callable

# What a publish costs beside its bytes: packet, ticket, task.
PUBLISH_OVERHEAD_BYTES = 2048


class ByteBudget:
    """Grants in order of asking. All calls come from one event loop."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._used = 0
        self._waiting: OrderedDict[Callable[[], None], int] = OrderedDict()

    @property
    def used_bytes(self) -> int:
        return self._used

    @property
    def waiting(self) -> int:
        """How many connections wait for a grant."""
        return len(self._waiting)

    def request(self, cost: int, on_granted: Callable[[], None]) -> bool:
        """Return True when granted now; else ``on_granted`` is called later. One request at a time for each callback.

        What alone is larger than the budget is granted when nothing else is held.
        """
        if not self._waiting and self._fits(cost):
            self._used += cost
            return True
        self._waiting[on_granted] = cost
        return False

    def withdraw(self, on_granted: Callable[[], None]) -> bool:
        """Take back a request that still waits; False if there is none."""
        waited = self._waiting.pop(on_granted, None) is not None
        if waited:
            self._serve()
        return waited

    def release(self, cost: int) -> None:
        """Give back what was granted."""
        self._used -= cost
        assert self._used >= 0, "more was given back than granted"
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            on_granted, cost = next(iter(self._waiting.items()))
            if not self._fits(cost):
                return
            del self._waiting[on_granted]
            self._used += cost
            on_granted()

    def _fits(self, cost: int) -> bool:
        return self._used == 0 or self._used + cost <= self._bytes_max
