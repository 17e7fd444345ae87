"""Which submissions that are still being read give way to others when the intake is full. Pure.

A body that trickles in holds a place, and the bytes that it announced, for as long as its deadline allows: a few
connections could hold everything. So when there is no room, the source (an address) that holds most unfinished places
gives up its oldest, in favour of one that holds at least two fewer; the addresses of an IPv6 subnet together likewise,
in favour of another subnet's. Invariants: a source's only place is never taken on its subnet,
so that slow but honest senders can't take each other's places in turns; nor is one that is younger than SETTLED_S,
so that a burst of quick ones is not cut short.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from gateway.networks import subnet_of

# A picture of 100 kB at 400 kbit/s: what takes longer than that may be asked to come again.
SETTLED_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A place whose payload is still coming. ``give_way`` frees it and tells its sender to come again."""

    source: str
    since_s: float
    give_way: Callable[[], None]


class UnfinishedPlaces:
    """All of them, oldest first."""

    def __init__(self) -> None:
        self._places: dict[object, Unfinished] = {}
        self._by_source: Counter[str] = Counter()
        self._by_subnet: Counter[str] = Counter()

    def add(self, place: object, unfinished: Unfinished) -> None:
        """Note a place."""
        self._places[place] = unfinished
        self._by_source[unfinished.source] += 1
        self._by_subnet[subnet_of(unfinished.source)] += 1

    def discard(self, place: object) -> None:
        """Forget a place that is finished or released, if it is here."""
        known = self._places.pop(place, None)
        if known is not None:
            _decrease(self._by_source, known.source)
            _decrease(self._by_subnet, subnet_of(known.source))

    def make_room_for(self, source: str, now_s: float) -> bool:
        """Have one place given up for ``source``; False if none may be asked of anybody."""
        found = self._oldest_of_heaviest(self._by_subnet, subnet_of, source)
        if found is None:
            found = self._oldest_of_heaviest(self._by_source, str, source)
        if found is None or now_s - self._places[found].since_s < SETTLED_S:
            return False
        leaving = self._places[found]
        self.discard(found)
        leaving.give_way()
        return True

    def _oldest_of_heaviest(self, counts: Counter[str], name_of: Callable[[str], str], source: str) -> object | None:
        if not counts:
            return None
        heaviest, count = counts.most_common(1)[0]
        if count < counts.get(name_of(source), 0) + 2:
            return None
        return next(place for place, one in self._places.items() if name_of(one.source) == heaviest)

    def __len__(self) -> int:
        return len(self._places)


def _decrease(counts: Counter[str], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
