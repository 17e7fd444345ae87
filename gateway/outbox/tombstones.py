"""Tombstones tell the cloud which sequences will not come. They coalesce, take no sequence and are never evicted.

A tombstone that changes is a new row with a new id: an acknowledgement of the
old one, perhaps under way, says nothing on the new range. Ranges of one epoch
never overlap.

What a policy took (evicted, expired, filtered, summarised) coalesces whatever
the reasons, which are counted: so a file never holds more tombstones than
events and one, however long it is offline. Dead letters, which may be
requeued, coalesce with their own reason only.

Limit: TOMBSTONE_LABELS_MAX labels are told apart in one tombstone.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.messages import Tombstone
from gateway.outbox.epochs import SequenceRange
from gateway.outbox.lifecycle import remaining_ranges
from gateway.outbox.rows import Row, label_from_row, tombstone_from_row
from gateway.outbox.transaction import Transaction

# A model has tens of labels; one with a thousand must not make a tombstone of 30 KB.
TOMBSTONE_LABELS_MAX = 50
OTHER_LABELS = "*"
MIXED = "mixed"
EVICTED = "evicted"
EXPIRED = "expired"
FILTERED = "filtered"
SUMMARISED = "summarised"
# What a device sends all day must not cost a message each: word of it travels with what is sent, or waits for
# cloud.tombstone_wait_s, and coalesces meanwhile.
_TOLD_LATER = frozenset({FILTERED, SUMMARISED})
_BY_POLICY = frozenset({EVICTED, EXPIRED, FILTERED, SUMMARISED, MIXED})


@dataclass(frozen=True, slots=True)
class _Grave:
    """What a tombstone says, without its id."""

    first: int
    last: int
    reasons: Mapping[str, int]
    labels: Mapping[str, int]

    def with_neighbour(self, neighbour: Tombstone) -> "_Grave":
        return _Grave(
            min(self.first, neighbour.first_sequence),
            max(self.last, neighbour.last_sequence),
            _sum(self.reasons, neighbour.reason_counts),
            _sum(self.labels, neighbour.labels),
        )


def bury(transaction: Transaction, first_key: int, last_key: int, reason: str, *, labels: Mapping[str, int]) -> None:
    """Add a tombstone for these keys, which are of one epoch, merged with undelivered neighbours."""
    (gone,) = transaction.epochs.ranges(first_key, last_key)
    grave = _Grave(gone.first, gone.last, {reason: gone.last - gone.first + 1}, labels)
    for neighbour in _neighbours(transaction, gone):
        if neighbour.reason == reason or {neighbour.reason, reason} <= _BY_POLICY:
            grave = grave.with_neighbour(neighbour)
            delete_tombstones(transaction, [neighbour.tombstone_id])
    _insert_tombstone(transaction, gone.epoch, grave)
    transaction.work_added = transaction.work_added or reason not in _TOLD_LATER


def bury_each(transaction: Transaction, rows: Sequence[Row], reason: str) -> None:
    """Add tombstones for rows of (key, kind, result), in any order: one for each run without a gap, and epoch."""
    run: list[Row] = []
    for row in sorted(rows, key=lambda row: int(row[0])):
        if run and not _continues(transaction, run[-1][0], row[0]):
            _bury_run(transaction, run, reason)
            run = []
        run.append(row)
    if run:
        _bury_run(transaction, run, reason)


def bury_held_back(transaction: Transaction) -> None:
    """Add tombstones for all that a group of requests holds back, at its end: one for each run, not one by one."""
    for fate in (FILTERED, SUMMARISED):
        rows = [row for held, *row in transaction.held_back if held == fate]
        if rows:
            bury_each(transaction, [tuple(row) for row in rows], fate)


def exhume(transaction: Transaction, keys: Sequence[int]) -> None:
    """Take these out of tombstones that the cloud has not acknowledged: they will come after all."""
    for within in transaction.epochs.ranges(min(keys), max(keys)):
        _exhume(transaction, within, keys)


def _exhume(transaction: Transaction, within: SequenceRange, keys: Sequence[int]) -> None:
    base = within.base
    removed = [key - base for key in keys if within.first <= key - base <= within.last]
    bounds = {"epoch": within.epoch, "first_sequence": within.first, "last_sequence": within.last}
    rows = transaction.connection.execute(transaction.queries.select_overlapping_tombstones, bounds).fetchall()
    for tombstone in map(tombstone_from_row, rows):
        whole = (tombstone.first_sequence, tombstone.last_sequence)
        left = list(remaining_ranges(*whole, removed=removed))
        if left == [whole]:
            continue
        delete_tombstones(transaction, [tombstone.tombstone_id])
        for first, last in left:
            # The others are dead letters too, so they are still there to be counted.
            found = transaction.connection.execute(
                transaction.queries.select_results_between, (base + first, base + last)
            )
            grave = _Grave(first, last, {tombstone.reason: last - first + 1}, label_counts(found))
            _insert_tombstone(transaction, tombstone.epoch, grave)


def delete_tombstones(transaction: Transaction, tombstone_ids: Sequence[int]) -> None:
    """Drop tombstones: acknowledged by the cloud, or replaced."""
    wanted = json.dumps(list(tombstone_ids))
    removed = transaction.connection.execute(transaction.queries.delete_tombstones, (wanted,)).rowcount
    transaction.ledger.tombstones_pending -= removed


def label_counts(rows: Iterable[Row]) -> Mapping[str, int]:
    """Count rows of (kind, result) by their top label; what has none is not counted."""
    labels = (label_from_row(kind, result) for kind, result in rows)
    return _bounded(Counter(label for label in labels if label is not None))


def _bury_run(transaction: Transaction, run: Sequence[Row], reason: str) -> None:
    bury(transaction, run[0][0], run[-1][0], reason, labels=label_counts(row[1:] for row in run))


def _continues(transaction: Transaction, key: int, following: int) -> bool:
    return following == key + 1 and transaction.epochs.of(key) == transaction.epochs.of(following)


def _neighbours(transaction: Transaction, gone: SequenceRange) -> list[Tombstone]:
    connection, queries = transaction.connection, transaction.queries
    before = connection.execute(queries.select_tombstone_before, (gone.epoch, gone.first)).fetchall()
    after = connection.execute(queries.select_tombstone_at, (gone.epoch, gone.last + 1)).fetchall()
    return [t for t in map(tombstone_from_row, before) if t.last_sequence == gone.first - 1] + [
        tombstone_from_row(row) for row in after
    ]


def _insert_tombstone(transaction: Transaction, epoch: str, grave: _Grave) -> None:
    one = next(iter(grave.reasons)) if len(grave.reasons) == 1 else MIXED
    reasons = json.dumps(grave.reasons) if one == MIXED else ""
    row = (epoch, grave.first, grave.last, one, reasons, json.dumps(grave.labels, ensure_ascii=False))
    transaction.connection.execute(transaction.queries.insert_tombstone, row)
    transaction.ledger.tombstones_pending += 1


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    return _bounded(Counter(one) + Counter(other))


def _bounded(counts: Counter[str]) -> Mapping[str, int]:
    """Return the counts with the rarest labels put together, where there are too many."""
    if len(counts) <= TOMBSTONE_LABELS_MAX:
        return dict(counts)
    others = counts.pop(OTHER_LABELS, 0)
    kept = dict(counts.most_common(TOMBSTONE_LABELS_MAX - 1))
    return kept | {OTHER_LABELS: others + counts.total() - sum(kept.values())}
