"""Pending events that leave before the cloud has them: pushed out by newer ones, or too old to be of use.

Each leaves a tombstone, in the same transaction, and its id is remembered, so
that a redelivery is recognised as before. Ages, not wall times, say what is
too old (gateway/timekeeping/boots.py).
"""

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate

from gateway import failpoints
from gateway.outbox.rows import Row, time_text
from gateway.outbox.tombstones import EVICTED, EXPIRED, bury_each
from gateway.outbox.transaction import Transaction

# Each eviction takes some, so that a full file changes its tombstone with every sixteenth submission and not with each.
EVICT_ROWS = 16


def evict(transaction: Transaction, *, now: datetime) -> int:
    """Push some pending events out, as ``outbox.when_full`` says, and return how many; 0 where it says refuse."""
    rows = _of_a_step(transaction, _victims(transaction))
    if rows:
        transaction.ledger.evicted_total += _remove(transaction, rows, EVICTED, now=now)
    return len(rows)


def expire(transaction: Transaction, *, rows_max: int, now: datetime) -> int:
    """Remove up to ``rows_max`` pending events whose time to live is over, and return how many."""
    connection, queries = transaction.connection, transaction.queries
    found: list[Row] = []
    ttl_s = -1.0
    while len(found) < rows_max:
        (ttl_s,) = connection.execute(queries.select_next_ttl, (ttl_s,)).fetchone()
        if ttl_s is None:
            break
        bounds = (ttl_s, transaction.cutoff_s(ttl_s), rows_max - len(found))
        found += connection.execute(queries.select_expired, bounds).fetchall()
    found = _of_a_step(transaction, found)
    if found:
        transaction.ledger.expired_total += _remove(transaction, found, EXPIRED, now=now)
    return len(found)


def remember(transaction: Transaction, chosen: str, *, now: datetime) -> int:
    """Turn events (their sequences as a JSON array) into remembered ids and return how many."""
    connection, queries = transaction.connection, transaction.queries
    moment = {"now": time_text(now), "age_s": transaction.age_s}
    moved = connection.execute(queries.remember_ids, {"sequences": chosen} | moment).rowcount
    failpoints.reached("outbox_during_prune")
    deleted = connection.execute(queries.delete_events, {"sequences": chosen}).rowcount
    assert moved == deleted, "both statements see the same rows"
    transaction.ledger.remembered += deleted
    return deleted


def _victims(transaction: Transaction) -> list[Row]:
    connection, queries = transaction.connection, transaction.queries
    match transaction.caps.when_full:
        case "evict_oldest":
            firsts = [first for first, _ in connection.execute(queries.select_first_pending) if first is not None]
            if not firsts:
                return []
            return connection.execute(queries.select_oldest_for_eviction, (min(firsts), EVICT_ROWS)).fetchall()
        case "evict_lowest_priority":
            return connection.execute(queries.select_lowest_for_eviction, (EVICT_ROWS,)).fetchall()
        case "refuse":
            return []


def _of_a_step(transaction: Transaction, rows: Sequence[Row]) -> list[Row]:
    """Return as many of the first rows as a step may copy; one at least, if there is one."""
    held = accumulate(len(result) for _, _, result in rows)
    bytes_max = transaction.caps.prune_bytes_max
    return [row for n, (row, total) in enumerate(zip(rows, held, strict=True)) if n == 0 or total <= bytes_max]


def _remove(transaction: Transaction, rows: Sequence[Row], reason: str, *, now: datetime) -> int:
    gone = remember(transaction, json.dumps([row[0] for row in rows]), now=now)
    transaction.ledger.pending -= gone
    bury_each(transaction, rows, reason)
    return gone
