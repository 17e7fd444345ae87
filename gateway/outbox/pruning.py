"""Small steps that make room: settled events become remembered ids, old ids are forgotten.

Pending events go only by their own time to live, or where ``outbox.when_full``
says so (removal.py); dead letters never. A step is bounded, so that a
commit waits for one step at most. Keeping times are counted in ages
(gateway/timekeeping/boots.py): a wall clock that jumps, either way, prunes
nothing and blocks nothing.
"""

import json
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate

from gateway.outbox.removal import evict, expire, remember
from gateway.outbox.transaction import Transaction

# About 10 ms on a fast disk; on an SD card the sync of the commit is the larger part.
PRUNE_ROWS = 200
# One submission pushes out so many at most while bytes are short. A page comes free only when all that is in it went:
# by priority that may take many, and then it goes on with the next submission.
EVICT_ROWS_PER_COMMIT_MAX = 1024
COMMANDS_KEPT_MAX = 10_000
# More ids than outbox.rows_max are not remembered; but so many, that in a small file, too, a device that sends again is
# recognised, though its event was just pushed out. A few MB; where bytes are short they go sooner.
IDS_KEPT_MIN = 10_000
# All packet ids of one session; a broker repeats what it has not seen acknowledged, which is recent.
DELIVERIES_KEPT_MAX = 65_535
# Devices that on_change remembers: about 1 MB of labels, where a site has tens of devices.
LAST_SENT_KEPT_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How long things stay: time that the machine was powered, and off between two starts whose clocks were right."""

    delivered: timedelta
    ids: timedelta


def prune(transaction: Transaction, *, now: datetime, keeping: Keeping) -> int:
    """Do one step and return how many rows went; 0 means that nothing is left to do."""
    expired = expire(transaction, rows_max=PRUNE_ROWS, now=now)
    if expired:
        return expired
    cutoff_s = transaction.cutoff_s(keeping.delivered.total_seconds())
    removed = remember_settled(transaction, cutoff_s=cutoff_s, now=now)
    if removed < PRUNE_ROWS:
        removed += _forget(transaction, keeping=keeping)
    return removed


def remember_settled(transaction: Transaction, *, cutoff_s: float = math.inf, now: datetime) -> int:
    """Turn some of the events that were settled at or before an age into remembered ids; return how many."""
    ledger = transaction.ledger
    if ledger.settled == 0:
        return 0
    chosen = json.dumps(_choose(transaction, cutoff_s))
    (delivered,) = transaction.connection.execute(transaction.queries.count_delivered_among, (chosen,)).fetchone()
    gone = remember(transaction, chosen, now=now)
    ledger.delivered -= delivered
    ledger.held_back -= gone - delivered
    transaction.pruned += gone
    return gone


def _choose(transaction: Transaction, cutoff_s: float) -> list[int]:
    """Return at least one sequence if there is any, at most PRUNE_ROWS and about the step's bytes."""
    candidates = transaction.connection.execute(transaction.queries.select_settled, (cutoff_s, PRUNE_ROWS)).fetchall()
    held = accumulate(size for _, size in candidates)
    bytes_max = transaction.caps.prune_bytes_max
    return [
        sequence
        for n, ((sequence, _), total) in enumerate(zip(candidates, held, strict=True))
        if n == 0 or total <= bytes_max
    ]


def forget_ids(transaction: Transaction, *, cutoff_s: float = math.inf, limit: int = PRUNE_ROWS) -> int:
    """Forget up to ``limit`` of the ids remembered longest; return how many."""
    if transaction.ledger.remembered == 0:
        return 0
    bounds = {"age_s": cutoff_s, "limit": limit}
    forgotten = transaction.connection.execute(transaction.queries.forget_ids, bounds).rowcount
    transaction.ledger.remembered -= forgotten
    return forgotten


def make_room(transaction: Transaction, *, rows: int, bytes_wanted: int, now: datetime) -> bool:
    """Try to fit ``rows`` and ``bytes_wanted`` under the caps and return whether they fit.

    Settled events and remembered ids go early, before a device is refused: what the cloud has is worth less here
    than what it has not. Then pending ones, where outbox.when_full says so.
    """
    ledger, caps = transaction.ledger, transaction.caps
    if rows > caps.rows_max or bytes_wanted > caps.bytes_max:
        return False  # it never fits: nothing is given up for it
    while ledger.rows + rows > caps.rows_max:
        if not (remember_settled(transaction, now=now) or evict(transaction, now=now)):
            return False
    given_up = 0
    while ledger.bytes_used + bytes_wanted > caps.bytes_max:
        freed = forget_ids(transaction) or remember_settled(transaction, now=now)
        if not freed and given_up < EVICT_ROWS_PER_COMMIT_MAX:
            freed = evict(transaction, now=now)
            given_up += freed
        if not freed:
            return False
        ledger.measure(transaction.connection)
    return True


def _forget(transaction: Transaction, *, keeping: Keeping) -> int:
    connection, queries = transaction.connection, transaction.queries
    cutoff_s = transaction.cutoff_s(keeping.ids.total_seconds())
    forgotten = forget_ids(transaction, cutoff_s=cutoff_s)
    surplus_ids = transaction.ledger.remembered - max(transaction.caps.rows_max, IDS_KEPT_MIN)
    if surplus_ids > 0:
        forgotten += forget_ids(transaction, limit=min(surplus_ids, PRUNE_ROWS))
    old = {"age_s": cutoff_s, "limit": PRUNE_ROWS}
    forgotten += connection.execute(queries.forget_commands, old).rowcount
    surplus = {"keep": COMMANDS_KEPT_MAX, "limit": PRUNE_ROWS}
    forgotten += connection.execute(queries.forget_oldest_commands, surplus).rowcount
    forgotten += connection.execute(queries.forget_deliveries, old).rowcount
    surplus_deliveries = {"keep": DELIVERIES_KEPT_MAX, "limit": PRUNE_ROWS}
    forgotten += connection.execute(queries.forget_oldest_deliveries, surplus_deliveries).rowcount
    surplus_last_sent = {"keep": LAST_SENT_KEPT_MAX, "limit": PRUNE_ROWS}
    forgotten += connection.execute(queries.forget_last_sent, surplus_last_sent).rowcount
    return forgotten
