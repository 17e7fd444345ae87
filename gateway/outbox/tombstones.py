"""Tombstones tell the cloud which sequences will not come. They coalesce, take no sequence and are never evicted.

A tombstone that changes is a new row with a new id: an acknowledgement of the
old one, perhaps under way, says nothing on the new range.
"""

import json
from collections.abc import Sequence

from gateway.outbox.lifecycle import remaining_ranges
from gateway.outbox.rows import tombstone_from_row
from gateway.outbox.transaction import Transaction


def bury(transaction: Transaction, first: int, last: int, reason: str) -> None:
    """Add a tombstone for ``first..last``, merged with undelivered neighbours of the same reason."""
    neighbours = transaction.connection.execute(
        transaction.queries.select_neighbour_tombstones,
        {"epoch": transaction.epoch, "reason": reason, "first_sequence": first, "last_sequence": last},
    ).fetchall()
    for row in neighbours:
        neighbour = tombstone_from_row(row)
        first, last = min(first, neighbour.first_sequence), max(last, neighbour.last_sequence)
        delete_tombstones(transaction, [neighbour.tombstone_id])
    _insert_tombstone(transaction, first, last, reason)
    transaction.work_added = True


def exhume(transaction: Transaction, sequences: Sequence[int]) -> None:
    """Take ``sequences`` out of tombstones that the cloud has not acknowledged: they will come after all."""
    bounds = {"epoch": transaction.epoch, "first_sequence": min(sequences), "last_sequence": max(sequences)}
    rows = transaction.connection.execute(transaction.queries.select_overlapping_tombstones, bounds).fetchall()
    for tombstone in map(tombstone_from_row, rows):
        whole = (tombstone.first_sequence, tombstone.last_sequence)
        left = list(remaining_ranges(*whole, removed=sequences))
        if left == [whole]:
            continue
        delete_tombstones(transaction, [tombstone.tombstone_id])
        for first, last in left:
            _insert_tombstone(transaction, first, last, tombstone.reason)


def delete_tombstones(transaction: Transaction, tombstone_ids: Sequence[int]) -> None:
    """Drop tombstones: acknowledged by the cloud, or replaced."""
    wanted = json.dumps(list(tombstone_ids))
    removed = transaction.connection.execute(transaction.queries.delete_tombstones, (wanted,)).rowcount
    transaction.ledger.tombstones_pending -= removed


def _insert_tombstone(transaction: Transaction, first: int, last: int, reason: str) -> None:
    row = (transaction.epoch, first, last, reason)
    transaction.connection.execute(transaction.queries.insert_tombstone, row)
    transaction.ledger.tombstones_pending += 1
