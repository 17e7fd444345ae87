"""The writing connection and its ledger: a group of requests becomes one durable transaction, or leaves no trace.

Used by one thread at a time. A request that fails by its own fault fails
alone; a full or failing disk fails the group and leaves a clean state behind,
with a connection opened anew where the old one can't be trusted.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from gateway import failpoints
from gateway.errors import (
    DiskNotReady,
    DiskUnavailable,
    OutboxDamaged,
    OutboxUnusable,
    RequestInvalid,
    SubmissionError,
)
from gateway.outbox.ballast import Ballast
from gateway.outbox.boot_rows import forget_old_boots, load_boots, save_boots
from gateway.outbox.connection import disk_unavailable, is_damage, is_disk_trouble, leaves_connection_sound, unusable
from gateway.outbox.damage import DamageNote, write_note
from gateway.outbox.epochs import EpochBook
from gateway.outbox.ledger import Ledger, load_epochs, load_ledger, save_ledger
from gateway.outbox.policy_rows import has_windows, save_policy_counts
from gateway.outbox.queries import Queries
from gateway.outbox.requests import Request
from gateway.outbox.salvage import SalvageState, load_salvages
from gateway.outbox.tombstones import bury_held_back
from gateway.outbox.transaction import Caps, Transaction
from gateway.ports import BootClock
from gateway.timekeeping.boots import BootBook, opened

log = structlog.get_logger(__name__)

# Freed pages are used again; the file is cut only where a good part of it is free, since cutting moves pages.
VACUUM_FREE_BYTES_MIN = 4 * 1024 * 1024
VACUUM_FREE_SHARE_MIN = 0.25
VACUUM_PAGES = 64
# What a request can bring upon itself: text that UTF-8 can't say, a number beyond 64 bits, a broken constraint.
_OWN_FAULTS = (sqlite3.Error, ValueError, OverflowError)

_Apply = Callable[[Request[Any], Transaction], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What came of a group: an outcome for each request (an exception for one that failed alone)."""

    outcomes: Sequence[object]
    work_added: bool
    pruned: int
    policies: Mapping[str, int]
    sync_s: float  # what COMMIT took: writing the WAL and its sync


class Store:
    """Owns the writing connection. ``connect`` opens another one to the same file, or raises OutboxUnusable.

    ``begin`` is called once with the first, before anything is read from it.
    """

    def __init__(
        self,
        path: Path,
        *,
        connect: Callable[[], sqlite3.Connection],
        begin: Callable[[sqlite3.Connection], None],
        queries: Queries,
        caps: Caps,
        clock: BootClock,
        ballast: Ballast,
    ) -> None:
        self.path = path
        self.ballast = ballast
        self.queries = queries
        self._connect = connect
        self._caps = caps
        self._clock = clock
        self._reopened = False
        # Called before the file is opened anew: the lock goes with the directory.
        self.before_reopening: Callable[[], None] = _nothing
        connection = connect()
        try:
            begin(connection)
            self.ledger: Ledger = load_ledger(connection, queries)
            self.epochs: EpochBook = load_epochs(connection, queries)
            now_s = clock.reading().boottime_s
            boots = load_boots(connection, queries)
            self.book: BootBook = opened(boots, boot_id=clock.boot_id, boottime_s=now_s)
            (self.written_bytes,) = connection.execute(queries.select_written_bytes).fetchone()
            self.has_windows: bool = has_windows(connection, queries)
            self.crashes: Mapping[str, int] = dict(connection.execute(queries.select_crash_suspects).fetchall())
            self.salvages: tuple[SalvageState, ...] = load_salvages(connection)
        except sqlite3.Error as error:
            connection.close()
            raise unusable(path, error) from error
        self._connection: sqlite3.Connection | None = connection
        # A new boot goes to disk with the first commit: a full file must open all the same.
        self._boot_noted = any(boot.number == self.book.current.number for boot in boots)

    def transact(self, requests: Sequence[Request[Any]]) -> Committed:
        """Return when the requests are on disk. Raises DiskUnavailable (then none is) or OutboxDamaged."""
        if self.ballast.is_out and not self.ballast.keep() and any(request.takes_space for request in requests):
            raise DiskUnavailable("the disk is full; what is left of it is for marks and deletes")
        try:
            return self._transact(requests)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise self._told(error) from error
        # A card that was taken out looks damaged, too. So damage is believed when the file, opened anew, shows it.
        try:
            return self._transact(requests)
        except sqlite3.Error as error:
            raise self._told(error) from error

    def note_damage(self, damage: OutboxDamaged) -> None:
        """Write down that the file is to be set aside, with what is known of it now. Raises OSError."""
        note = DamageNote(why=damage.why, epochs=self.epochs.all, key_high=self.ledger.sequence_high)
        write_note(self.path.parent, note)

    def _told(self, error: sqlite3.Error) -> Exception:
        if not is_disk_trouble(error):
            return unusable(self.path, error)
        self.ballast.release()
        return disk_unavailable(error)

    def vacuum_step(self) -> bool:
        """Cut a few free pages off the file, where enough are free to be worth it. Returns whether any was cut."""
        used, free = self.ledger.bytes_used, self.ledger.bytes_free
        if self._connection is None or free < max(VACUUM_FREE_BYTES_MIN, (used + free) * VACUUM_FREE_SHARE_MIN):
            return False
        try:
            # executescript: through execute() the pragma is stepped once and frees a single page.
            self._connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_PAGES})")
            self.ledger.measure(self._connection)
        except sqlite3.Error as error:
            self._discard(error)
            raise disk_unavailable(error) from error
        return self.ledger.bytes_free < free

    def close(self) -> None:
        """Move the WAL into the file and close. What can't be moved now stays in the WAL, and is as safe there."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        try:
            # Then the WAL goes, and a start that finds none must know that nothing was in it.
            connection.execute(self.queries.set_is_open, (0,))
            connection.execute("PRAGMA busy_timeout = 500")  # a reader may hold the WAL: not worth a late exit
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            log.warning("outbox_checkpoint_failed", error=str(error))
        with contextlib.suppress(sqlite3.Error):
            connection.close()

    def _transact(self, requests: Sequence[Request[Any]]) -> Committed:
        try:
            return self._attempt(requests, _apply)
        except _OWN_FAULTS as error:
            if is_disk_trouble(error) or is_damage(error):
                raise
        # Rare, so not paid for by every request: find the one at fault by giving each its savepoint.
        return self._attempt(requests, _apply_in_savepoint)

    def _attempt(self, requests: Sequence[Request[Any]], apply: _Apply) -> Committed:
        kinds = {request.failpoint for request in requests}
        connection = self._usable_connection()
        transaction = Transaction(
            connection=connection,
            queries=self.queries,
            epochs=self.epochs,
            caps=self._caps,
            ledger=replace(self.ledger),
            book=self.book,
            boottime_s=self._clock.reading().boottime_s,
            has_windows=self.has_windows,
        )
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._note_boot(transaction)
            outcomes = [apply(request, transaction) for request in requests]
            bury_held_back(transaction)
            if transaction.ledger != self.ledger:
                save_ledger(connection, self.queries, transaction.ledger)
            save_policy_counts(connection, self.queries, transaction.policies)
            for kind in kinds:
                failpoints.reached(f"outbox_before_{kind}")
            began_s = self._clock.monotonic()
            connection.execute("COMMIT")
            sync_s = self._clock.monotonic() - began_s
        except BaseException as error:
            self._discard(error)
            raise
        for kind in kinds:
            failpoints.reached(f"outbox_after_{kind}")
        return self._committed(transaction, outcomes, sync_s)

    def _note_boot(self, transaction: Transaction) -> None:
        if not self._boot_noted:
            save_boots(transaction.connection, self.queries, [transaction.book.current])
            forget_old_boots(transaction.connection, self.queries, transaction.book)

    def _committed(self, transaction: Transaction, outcomes: Sequence[object], sync_s: float) -> Committed:
        with contextlib.suppress(sqlite3.Error):  # the group is on disk: failing to measure must not deny it
            transaction.ledger.measure(transaction.connection)
            if transaction.salvaged:
                self.epochs = load_epochs(transaction.connection, self.queries)
                self.salvages = load_salvages(transaction.connection)
        self.ledger = transaction.ledger
        self.book = transaction.book
        self.has_windows = transaction.has_windows
        self._boot_noted = True
        work_added = transaction.work_added or self._reopened
        self._reopened = False
        return Committed(
            outcomes=outcomes,
            work_added=work_added,
            pruned=transaction.pruned,
            policies=transaction.policies,
            sync_s=sync_s,
        )

    def _discard(self, error: BaseException) -> None:
        """Roll back. After an I/O error the descriptors may be dead for ever (a card put back): let them go."""
        connection = self._connection
        assert connection is not None
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            trusted = leaves_connection_sound(error) or not (is_disk_trouble(error) or is_damage(error))
        except sqlite3.Error:
            trusted = False
        if not trusted:
            self._connection = None
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _usable_connection(self) -> sqlite3.Connection:
        """Return the connection; a new one is counted anew, since a commit that reported an error may yet be there."""
        if self._connection is not None:
            return self._connection
        try:
            self.before_reopening()
            connection = self._connect()
        except (OutboxUnusable, DiskNotReady) as error:
            if isinstance(error, OutboxDamaged):
                raise
            raise DiskUnavailable(str(error)) from error
        try:
            self.ledger = load_ledger(connection, self.queries)
            self.has_windows = has_windows(connection, self.queries)
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        self._reopened = True
        log.info("outbox_reopened", sequence_high=self.ledger.sequence_high)
        return connection


def _nothing() -> None:
    """Stand in for a lock, where there is none."""


def _apply(request: Request[Any], transaction: Transaction) -> object:
    try:
        return request.apply(transaction)
    except SubmissionError as refusal:  # raised before anything was written
        return refusal


def _apply_in_savepoint(request: Request[Any], transaction: Transaction) -> object:
    connection = transaction.connection
    before = replace(transaction.ledger), transaction.work_added, transaction.pruned, transaction.book
    policies_before, held_before = transaction.policies.copy(), len(transaction.held_back)
    connection.execute("SAVEPOINT request")
    try:
        outcome = _apply(request, transaction)
    except _OWN_FAULTS as error:
        if is_disk_trouble(error) or is_damage(error):
            raise
        connection.execute("ROLLBACK TO request")
        transaction.ledger, transaction.work_added, transaction.pruned, transaction.book = before
        transaction.policies = policies_before
        del transaction.held_back[held_before:]
        outcome = RequestInvalid(f"can't be stored: {error}") if isinstance(error, UnicodeEncodeError) else error
    connection.execute("RELEASE request")
    return outcome
