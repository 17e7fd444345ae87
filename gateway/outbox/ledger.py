"""Figures of the outbox, kept in memory so that no commit counts rows.

Read from small indexes at open; a transaction works on a copy that takes the
ledger's place after COMMIT, so the figures always describe what is on disk.
"""

import sqlite3
from dataclasses import dataclass

from gateway.messages import Epoch
from gateway.outbox.connection import PAGE_BYTES
from gateway.outbox.queries import Queries


@dataclass(slots=True, kw_only=True)
class Ledger:
    """How much of what there is. ``rows`` counts events of every state; ``bytes_used`` leaves free pages out."""

    sequence_high: int
    pending: int
    delivered: int
    dead: int
    remembered: int
    refusals: int
    tombstones_pending: int
    bytes_used: int
    bytes_free: int

    @property
    def rows(self) -> int:
        return self.pending + self.delivered + self.dead

    def measure(self, connection: sqlite3.Connection) -> None:
        """Read the file's size; two look-ups in its header page."""
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        self.bytes_used = (pages - free) * PAGE_BYTES
        self.bytes_free = free * PAGE_BYTES


def load_ledger(connection: sqlite3.Connection, queries: Queries) -> Ledger:
    """Return the figures of the file behind ``connection``. Raises sqlite3.Error."""
    counts = connection.execute(queries.select_counts).fetchone()
    ledger = Ledger(
        sequence_high=counts[0],
        pending=counts[1],
        delivered=counts[2],
        dead=counts[3],
        remembered=counts[4],
        refusals=counts[5],
        tombstones_pending=counts[6],
        bytes_used=0,
        bytes_free=0,
    )
    ledger.measure(connection)
    return ledger


def load_epoch(connection: sqlite3.Connection, queries: Queries) -> Epoch:
    """Return the epoch that the file is in. Raises sqlite3.Error, for a file without one too."""
    row = connection.execute(queries.select_epoch).fetchone()
    if row is None:
        raise sqlite3.DatabaseError("the table epochs is empty")
    return Epoch(epoch=row[0], predecessor=row[1], predecessor_last_sequence=row[2])
