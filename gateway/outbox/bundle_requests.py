"""What the writer is asked about bundles: to remember one that was exported, and that one arrived.

A bundle is known by the hash of its content and holds the keys of its events as ranges. An acknowledgement for another
hash changes nothing. Limit: BUNDLES_KEPT_MAX are remembered, the oldest go.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from gateway.outbox.requests import MarkDelivered
from gateway.outbox.rows import time_text
from gateway.outbox.transaction import Transaction

# Somebody who carries a stick once a day has three years to bring an acknowledgement back.
BUNDLES_KEPT_MAX = 1000
# Marks in one transaction: a commit waits for one step at most.
STEP_ROWS = 500
KeyRange = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordBundle:
    """A bundle was written: remember what is in it."""

    failpoint: ClassVar[str] = "record_bundle"
    takes_space: ClassVar[bool] = False
    sha256: str
    keys: Sequence[KeyRange]
    tombstone_ids: Sequence[int]
    now: datetime

    def apply(self, transaction: Transaction) -> None:
        """Remember it, and forget the oldest beyond the cap."""
        row = (
            self.sha256,
            time_text(self.now),
            transaction.age_s,
            json.dumps([list(pair) for pair in self.keys]),
            json.dumps(list(self.tombstone_ids)),
        )
        transaction.connection.execute(transaction.queries.insert_bundle, row)
        transaction.connection.execute(transaction.queries.forget_bundles, (BUNDLES_KEPT_MAX,))


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleStep:
    """What one step of an acknowledgement came to. ``after_key``: where the next begins; None: all is marked."""

    marked: int
    after_key: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgeBundle:
    """A bundle arrived: mark those of its events that are still pending, a step at a time, then its tombstones."""

    failpoint: ClassVar[str] = "acknowledge_bundle"
    takes_space: ClassVar[bool] = False
    sha256: str
    after_key: int
    now: datetime

    def apply(self, transaction: Transaction) -> BundleStep | None:
        """Return what was done; None where this outbox has exported no such bundle."""
        connection, queries = transaction.connection, transaction.queries
        known = connection.execute(queries.select_bundle, (self.sha256,)).fetchone()
        if known is None:
            return None
        keys, tombstone_ids = known
        parameters = {"keys": keys, "after": self.after_key, "limit": STEP_ROWS}
        pending = [key for (key,) in connection.execute(queries.select_pending_in_ranges, parameters)]
        is_last = len(pending) < STEP_ROWS
        arrived = json.loads(tombstone_ids) if is_last else ()
        MarkDelivered(sequences=pending, tombstone_ids=arrived, now=self.now).apply(transaction)
        if is_last:
            connection.execute(queries.acknowledge_bundle, (time_text(self.now), self.sha256))
        return BundleStep(marked=len(pending), after_key=None if is_last else pending[-1])
