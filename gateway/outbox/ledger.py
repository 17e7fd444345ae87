"""Figures of the outbox: one row in the file, written with each commit that changes them, so that nobody counts rows.

A transaction works on a copy that takes the ledger's place after COMMIT, so
the figures always describe what is on disk. Invariant, for the whole epoch:
``sequence_high`` - its base + taken_over = pending + dead + delivered_total +
evicted_total + expired_total + filtered_total + summarised_total.
"""

import sqlite3
from dataclasses import asdict, dataclass

from gateway.messages import Epoch
from gateway.outbox.connection import PAGE_BYTES
from gateway.outbox.epochs import EpochBook
from gateway.outbox.queries import Queries


@dataclass(slots=True, kw_only=True)
class Ledger:
    """How much of what there is. ``bytes_used`` leaves free pages out and is measured, not stored.

    ``sequence_high`` is the highest key given (gateway/outbox/epochs.py).
    """

    sequence_high: int
    pending: int
    delivered: int  # rows that are still in the file
    held_back: int  # the same: filtered or summarised
    dead: int
    remembered: int
    refusals: int
    tombstones_pending: int
    delivered_total: int
    evicted_total: int
    expired_total: int
    filtered_total: int
    summarised_total: int
    taken_over: int = 0  # events of former epochs that the file began with, pending or dead
    bytes_used: int = 0
    bytes_free: int = 0

    @property
    def rows(self) -> int:
        """Events of every state in the file."""
        return self.pending + self.settled + self.dead

    @property
    def settled(self) -> int:
        """Events that nobody waits for: they may be pruned."""
        return self.delivered + self.held_back

    def measure(self, connection: sqlite3.Connection) -> None:
        """Read the file's size; two look-ups in its header page."""
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        self.bytes_used = (pages - free) * PAGE_BYTES
        self.bytes_free = free * PAGE_BYTES


def load_ledger(connection: sqlite3.Connection, queries: Queries) -> Ledger:
    """Return the figures of the file behind ``connection``. Raises sqlite3.Error, for a file without them too."""
    row = connection.execute(queries.select_ledger).fetchone()
    if row is None:
        raise sqlite3.DatabaseError("the table ledger is empty")
    ledger = Ledger(
        sequence_high=row[0],
        pending=row[1],
        delivered=row[2],
        held_back=row[3],
        dead=row[4],
        remembered=row[5],
        refusals=row[6],
        tombstones_pending=row[7],
        delivered_total=row[8],
        evicted_total=row[9],
        expired_total=row[10],
        filtered_total=row[11],
        summarised_total=row[12],
        taken_over=row[13],
    )
    ledger.measure(connection)
    return ledger


def save_ledger(connection: sqlite3.Connection, queries: Queries, ledger: Ledger) -> None:
    """Write the figures into the open transaction. Raises sqlite3.Error."""
    connection.execute(queries.save_ledger, asdict(ledger))


def load_epochs(connection: sqlite3.Connection, queries: Queries) -> EpochBook:
    """Return the epochs of the file. Raises sqlite3.Error, for a file without one too."""
    rows = connection.execute(queries.select_epochs).fetchall()
    if not rows:
        raise sqlite3.DatabaseError("the table epochs is empty")
    return EpochBook(
        Epoch(epoch=epoch, predecessor=predecessor, predecessor_last_sequence=last, base=base)
        for epoch, predecessor, last, base in rows
    )
