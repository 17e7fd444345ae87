"""What a request may use: one open transaction, with the figures as they will be after it."""

import sqlite3
from dataclasses import dataclass

from gateway.outbox.ledger import Ledger
from gateway.outbox.queries import Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The bounds of the file. ``bytes_max`` is already less the reserve that marks, tombstones and pruning need.

    ``prune_bytes_max``: a pruning step copies before it deletes, so it must fit into the reserve.
    """

    rows_max: int
    bytes_max: int
    refusals_max: int
    prune_bytes_max: int


@dataclass(slots=True, kw_only=True)
class Transaction:
    """One BEGIN IMMEDIATE. ``ledger`` is a working copy; ``work_added`` says that something became pending."""

    connection: sqlite3.Connection
    queries: Queries
    epoch: str
    caps: Caps
    ledger: Ledger
    work_added: bool = False
    pruned: int = 0  # delivered events removed, for the metric
