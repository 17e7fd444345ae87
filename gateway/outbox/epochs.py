"""Which epoch a row is of. Pure.

Rows have keys that go on over all epochs of a site's outbox; each epoch has a base, and its sequences are the keys
above it, counted from 1. So what was saved from a damaged file keeps its epoch and sequence beside what came later,
and every statement that orders by key has the older epoch first.

Invariants: bases rise from epoch to epoch; no key is at or below the base of the first.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from gateway.messages import Epoch, FormerEpoch


@dataclass(frozen=True, slots=True)
class SequenceRange:
    """Sequences ``first``..``last`` of one epoch, whose keys are above ``base``."""

    epoch: str
    base: int
    first: int
    last: int


class EpochBook:
    """The epochs of one file, oldest first; at least one."""

    def __init__(self, epochs: Iterable[Epoch]) -> None:
        self._epochs = tuple(sorted(epochs, key=lambda epoch: epoch.base))
        self._bases = [epoch.base for epoch in self._epochs]
        assert self._epochs, "a file has an epoch"

    @property
    def all(self) -> tuple[Epoch, ...]:
        """Every epoch, oldest first."""
        return self._epochs

    @property
    def current(self) -> Epoch:
        """The epoch that new events are of."""
        return self._epochs[-1]

    @property
    def former(self) -> tuple[FormerEpoch, ...]:
        """The epochs before, each with the last sequence known of it, as its successor tells."""
        return tuple(
            FormerEpoch(epoch=epoch, sequence_high=following.predecessor_last_sequence or 0)
            for epoch, following in pairwise(self._epochs)
        )

    def of(self, key: int) -> Epoch:
        """Return the epoch of a row."""
        if len(self._epochs) == 1:  # as nearly always
            return self._epochs[0]
        return self._epochs[max(0, bisect_left(self._bases, key) - 1)]

    def named(self, epoch: str) -> Epoch | None:
        """Return the epoch of that name, or None."""
        return next((known for known in self._epochs if known.epoch == epoch), None)

    def ranges(self, first_key: int, last_key: int) -> Iterator[SequenceRange]:
        """Yield what the keys ``first_key``..``last_key`` are, epoch by epoch."""
        ends = [*self._bases[1:], None]
        for epoch, end in zip(self._epochs, ends, strict=True):
            first = max(first_key, epoch.base + 1)
            last = last_key if end is None else min(last_key, end)
            if first <= last:
                yield SequenceRange(epoch.epoch, epoch.base, first - epoch.base, last - epoch.base)
