"""The life of an event, as data: pending → delivered | dead, and dead → pending by an operator's requeue.

An event is born pending, or held back (filtered, summarised) for good. Evicted and expired ones leave the table.
Pure. The SQL side binds its states through :func:`step`, so that a statement
can't make a change that is not in this table.
"""

from collections.abc import Iterable, Iterator, Mapping

from gateway.messages import EventState

TRANSITIONS: Mapping[EventState, frozenset[EventState]] = {
    EventState.PENDING: frozenset({EventState.DELIVERED, EventState.DEAD}),
    EventState.DELIVERED: frozenset(),  # the cloud has it: only pruning comes after
    EventState.DEAD: frozenset({EventState.PENDING}),
    EventState.FILTERED: frozenset(),
    EventState.SUMMARISED: frozenset(),
}


def may_become(old: EventState, new: EventState) -> bool:
    """Return whether an event in ``old`` may change to ``new``."""
    return new in TRANSITIONS[old]


def step(old: EventState, new: EventState) -> tuple[EventState, EventState]:
    """Return ``(old, new)`` for a statement to bind; a change that is not allowed is our bug."""
    assert may_become(old, new), f"{old} can't become {new}"
    return old, new


def remaining_ranges(first: int, last: int, removed: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield what is left of ``first..last`` (inclusive) without the sequences in ``removed``, as ranges in order."""
    start = first
    for sequence in sorted(s for s in set(removed) if first <= s <= last):
        if start < sequence:
            yield start, sequence - 1
        start = sequence + 1
    if start <= last:
        yield start, last
