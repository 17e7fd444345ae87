"""Which address holds how many connections of a listener, so that none can keep all the others out. Pure.

When the cap is reached, a newcomer gets in at the cost of the address that holds most, if that holds at least two
more than the newcomer's. Of that address goes the connection that gives up most readily, the oldest of those: as a
rule one that has not said who it is or what it wants, then an idle one, then one that is sending. Limit: devices
behind one translated address count as one.
"""

from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar


class Holding(Protocol):
    """A connection that may be given up."""

    def gives_up(self) -> int | None:
        """Return how readily this connection is given up: 0 first; None for one at work."""


HoldingT = TypeVar("HoldingT", bound=Holding)


class Holders(Generic[HoldingT]):
    """The open connections by address, each in the order in which they came."""

    def __init__(self) -> None:
        self._by_address: dict[str, dict[HoldingT, None]] = {}

    def add(self, address: str, connection: HoldingT) -> None:
        """Note a connection."""
        self._by_address.setdefault(address, {})[connection] = None

    def discard(self, address: str, connection: HoldingT) -> None:
        """Forget a connection, if it is here."""
        held = self._by_address.get(address, {})
        held.pop(connection, None)
        if not held:
            self._by_address.pop(address, None)

    def one_to_give_up_for(self, address: str) -> HoldingT | None:
        """Return the connection that goes so that ``address``, whose newcomer is noted already, may have one."""
        if not self._by_address:
            return None
        heaviest = max(self._by_address.values(), key=len)
        if len(heaviest) < len(self._by_address.get(address, {})) + 1:
            return None
        return _readiest(heaviest)


def _readiest(connections: Iterable[HoldingT]) -> HoldingT | None:
    best: HoldingT | None = None
    best_rank = None
    for connection, rank in _ranked(connections):
        if best_rank is None or rank < best_rank:
            best, best_rank = connection, rank
        if rank == 0:
            break
    return best


def _ranked(connections: Iterable[HoldingT]) -> Iterator[tuple[HoldingT, int]]:
    for connection in connections:
        rank = connection.gives_up()
        if rank is not None:
            yield connection, rank
