"""Which address holds how many connections of a listener, so that none can keep all the others out. Pure.

When the cap is reached, a newcomer gets in at the cost of the subnet (gateway/networks.py) that holds most, if that
holds at least two more than the newcomer's; among the addresses of one subnet the same. Of that address goes the
connection that gives up most readily, the oldest of those: as a rule one that has not said who it is or what it wants,
then an idle one, then one that is sending. Limit: devices behind one translated address count as one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from gateway.networks import subnet_of

# TLS handshakes under way beyond a listener's cap on connections (gateway/tls/door.py). One takes a core a millisecond
# or two: so many last as long as a device's round trip even while a crowd pushes in.
HANDSHAKES_MAX = 64


class Holding(Protocol):
    """A connection that may be given up."""

    def gives_up(self) -> int | None:
        """Return how readily this connection is given up: 0 first; None for one at work."""


HoldingT = TypeVar("HoldingT", bound=Holding)


@dataclass(slots=True)
class _Subnet(Generic[HoldingT]):
    """The connections of one subnet by address, each in the order in which they came."""

    by_address: dict[str, dict[HoldingT, None]] = field(default_factory=dict)
    count: int = 0

    def held_by(self, address: str) -> dict[HoldingT, None]:
        return self.by_address.get(address, {})

    def heaviest(self) -> dict[HoldingT, None]:
        return max(self.by_address.values(), key=len)


class Holders(Generic[HoldingT]):
    """The open connections by subnet and address."""

    def __init__(self) -> None:
        self._subnets: dict[str, _Subnet[HoldingT]] = {}

    def add(self, address: str, connection: HoldingT) -> None:
        """Note a connection."""
        subnet = self._subnets.setdefault(subnet_of(address), _Subnet())
        held = subnet.by_address.setdefault(address, {})
        subnet.count += connection not in held
        held[connection] = None

    def discard(self, address: str, connection: HoldingT) -> None:
        """Forget a connection, if it is here."""
        name = subnet_of(address)
        subnet = self._subnets.get(name)
        if subnet is None or connection not in subnet.held_by(address):
            return
        del subnet.by_address[address][connection]
        subnet.count -= 1
        if not subnet.by_address[address]:
            del subnet.by_address[address]
        if not subnet.count:
            del self._subnets[name]

    def one_to_give_up_for(self, address: str) -> HoldingT | None:
        """Return the connection that goes so that ``address``, whose newcomer is noted already, may have one."""
        if not self._subnets:
            return None
        own: _Subnet[HoldingT] = self._subnets.get(subnet_of(address)) or _Subnet()
        subnet = max(self._subnets.values(), key=_count)
        if subnet.count > own.count:
            return _readiest(subnet.heaviest())
        if own.by_address and len(own.heaviest()) > len(own.held_by(address)):
            return _readiest(own.heaviest())
        return None

    def oldest_of(self, address: str) -> HoldingT | None:
        """Return the readiest connection of ``address`` itself, the oldest of those; None if it has none."""
        subnet = self._subnets.get(subnet_of(address))
        return None if subnet is None else _readiest(subnet.held_by(address))


def _count(subnet: _Subnet[HoldingT]) -> int:
    return subnet.count


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
