"""What a request may use: one open transaction, with the figures as they will be after it."""

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.outbox.epochs import EpochBook
from gateway.outbox.ledger import Ledger
from gateway.outbox.queries import Queries
from gateway.timekeeping.boots import BootBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The bounds of the file. ``bytes_max`` is already less the reserve that marks, tombstones and pruning need.

    ``prune_bytes_max``: a pruning step copies before it deletes, so it must fit into the reserve. ``when_full``: who
    gives way once nothing is left that the cloud has.
    """

    rows_max: int
    bytes_max: int
    refusals_max: int
    prune_bytes_max: int
    when_full: Literal["refuse", "evict_oldest", "evict_lowest_priority"]


@dataclass(slots=True, kw_only=True)
class Transaction:
    """One BEGIN IMMEDIATE. ``ledger`` is a working copy; ``work_added`` says that something became pending.

    ``boottime_s`` is when it began; keeping times are ages (gateway/timekeeping/boots.py), never wall times.
    """

    connection: sqlite3.Connection
    queries: Queries
    epochs: EpochBook
    caps: Caps
    ledger: Ledger
    book: BootBook
    boottime_s: float
    work_added: bool = False
    salvaged: bool = False  # epochs and salvages are not what they were
    pruned: int = 0  # delivered events removed, for the metric
    held_back: list[tuple[Any, ...]] = field(default_factory=list)  # (fate, key, kind, result): to be buried at its end
    has_windows: bool = False  # a summary is being counted
    policies: Counter[str] = field(default_factory=Counter)  # held back by which, and summaries made

    @property
    def age_s(self) -> float:
        """The age now: what is stored of the moment at which something was delivered or pruned."""
        return self.book.age_s(self.boottime_s)

    def cutoff_s(self, older_than_s: float) -> float:
        """Return the age at or below which things are at least ``older_than_s`` old."""
        return self.book.cutoff_s(older_than_s, boottime_s=self.boottime_s)
