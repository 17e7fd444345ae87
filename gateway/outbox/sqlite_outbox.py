"""The outbox on SQLite: every accepted event is in this file, synced, before its acknowledgement leaves.

Owns the file of one data directory (flock), its writer thread and its reader.
Invariants: sequences are gap-free; an event is stored once per device, id and
payload hash; pending events and dead letters are never dropped. Limits:
``outbox.rows_max`` events, ``outbox.bytes_max`` bytes of file (the WAL beside it
stays at a few MiB).
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import structlog

from gateway.errors import OutboxDamaged, Stopping
from gateway.messages import (
    PRIORITY_DEFAULT,
    Classification,
    Command,
    CommandState,
    Event,
    EventDraft,
    OutboxState,
    PendingEvent,
    PendingSpan,
    Receipt,
    Refusal,
    Tombstone,
    Watermark,
)
from gateway.outbox.bundle_requests import AcknowledgeBundle, RecordBundle
from gateway.outbox.epochs import EpochBook
from gateway.outbox.figures import Gauges, outbox_state
from gateway.outbox.files import DirectoryLock, prepare_directory
from gateway.outbox.integrity import Checker
from gateway.outbox.opening import open_store, salvage_at_once
from gateway.outbox.pruning import Keeping
from gateway.outbox.reader import Parameters, Reader
from gateway.outbox.requests import (
    CommitDrafts,
    MarkDead,
    MarkDelivered,
    Prune,
    RecordCrash,
    RecordRefusal,
    Requeue,
    SettleCommand,
    StoreCommand,
)
from gateway.outbox.rows import (
    Row,
    array_item,
    command_from_row,
    event_from_row,
    pending_from_row,
    receipt_from_rows,
    received_from_row,
    rows_with_payload,
    spans_from_rows,
    tombstone_from_row,
)
from gateway.outbox.salvage import Salvage, SalvageState
from gateway.outbox.salvage_pace import take_out
from gateway.outbox.schema import load_migrations
from gateway.outbox.store import Store
from gateway.outbox.time_requests import NoteOffset
from gateway.outbox.wear import FlashWear, flash_wear
from gateway.outbox.writer import Writer
from gateway.ports import BootClock, Meter
from gateway.settings import OutboxSettings
from gateway.timekeeping.age import PoweredAge
from gateway.timekeeping.boots import BootBook, ClockOffset

log = structlog.get_logger(__name__)

T = TypeVar("T")

# A payload that was being worked on at this many crashes is not tried again.
POISON_CRASHES = 2
# A requeue of everything goes in steps, so that a commit waits for one step at most.
REQUEUE_ROWS = 500
# Above every sequence: SQLite's largest number.
SEQUENCE_END = 2**63 - 1
# Of the 10 s that Docker grants; what is under way ends within milliseconds on a disk that answers.
CLOSE_TIMEOUT_S = 4.0


def open_outbox(
    data_dir: Path,
    *,
    settings: OutboxSettings,
    clock: BootClock,
    meter: Meter,
    predecessor: tuple[str, int] | None = None,
) -> "SqliteOutbox":
    """Lock the data directory, open its outbox (made where there is none) and return it, not yet started.

    ``predecessor`` (epoch, last sequence known of it) goes into a file that is made now. Blocks on the disk.
    Raises DataDirectoryLocked or OutboxUnusable, each with the cure.
    """
    prepare_directory(data_dir)
    lock = DirectoryLock(data_dir)
    try:
        store = open_store(data_dir, settings=settings, clock=clock, predecessor=predecessor)
        salvage = Salvage(data_dir, load_migrations(), store.salvages)
        salvage_at_once(store, salvage, clock=clock)
    except BaseException:
        lock.release()
        raise
    return SqliteOutbox(store, salvage=salvage, lock=lock, settings=settings, clock=clock, meter=meter)


class SqliteOutbox:
    """EventStore, PendingQueue, CommitSignal, CommandStore and EventReader on one file."""

    def __init__(
        self,
        store: Store,
        *,
        salvage: Salvage,
        lock: DirectoryLock,
        settings: OutboxSettings,
        clock: BootClock,
        meter: Meter,
    ) -> None:
        self._store = store
        self._salvage = salvage
        self._queries = store.queries
        self._lock = lock
        store.before_reopening = lock.renew
        self._clock = clock
        self._meter = meter
        self._crashes: Mapping[str, int] = store.crashes
        self._keeping = Keeping(
            delivered=timedelta(hours=settings.delivered_keep_h), ids=timedelta(days=settings.id_keep_days)
        )
        self._work = asyncio.Event()
        self._gauges = Gauges(store, settings=settings, meter=meter)
        if store.ledger.pending or store.ledger.tombstones_pending:
            self._work.set()
        self.age = PoweredAge(clock=clock, book=lambda: store.book)
        self._written_before = store.written_bytes
        self._first_sequence = store.ledger.sequence_high
        self._reader = Reader(store.path, on_damage=self._damaged)
        self._writer = Writer(
            store,
            group_max=settings.group_commit_max,
            keeping=self._keeping,
            clock=clock,
            meter=meter,
            on_work=self._work.set,
        )
        self.checker = Checker(
            self._reader,
            migrations=load_migrations(),
            every_s=settings.check_every_h * 3600,
            clock=clock,
            meter=meter,
            on_damage=self._damaged,
        )

    def start(self) -> None:
        """Start the writer thread, for the running event loop. It prunes by itself when it has time."""
        self._writer.start()

    def gather_while(self, more_comes: Callable[[], bool]) -> None:
        """Let commits of pictures wait a moment for each other while ``more_comes`` says that others are behind."""
        self._writer.gather_while(more_comes)

    @property
    def _epochs(self) -> EpochBook:
        return self._store.epochs

    def _damaged(self, damage: OutboxDamaged) -> None:
        self._writer.fail(damage)

    @property
    def ballast_is_out(self) -> bool:
        """Whether the disk is full and the ballast was let go."""
        return self._store.ballast.is_out

    @property
    def set_aside(self) -> tuple[SalvageState, ...]:
        """The damaged files that this one follows, and how far taking out what is whole has come."""
        return self._store.salvages

    async def salvage(self) -> None:
        """Take out what is left of damaged files, in steps that leave room for others. Returns when all is done.

        Raises what the outbox raises, except DiskUnavailable, which is waited out.
        """
        await take_out(self._salvage, self._writer)

    async def failed(self) -> None:
        """Raise what ended the writer (damage, or our bug): the process should end too. Never returns otherwise."""
        await self._writer.failed()

    def close(self) -> None:
        """Finish what was asked for, checkpoint, close and unlock; within CLOSE_TIMEOUT_S. Safe to call twice.

        A writer that hangs on a dead disk keeps the lock until the process ends: two writers must never be.
        """
        self._reader.close()
        if self._writer.stop(CLOSE_TIMEOUT_S):
            self._lock.release()
        else:
            log.error("outbox_close_timed_out", timeout_s=CLOSE_TIMEOUT_S)

    # --- EventStore -----------------------------------------------------------------------------------

    async def recall(self, device_id: str, submission_id: str, payload_sha256: str) -> Receipt | None:
        """Return the first receipt of a redelivery, else None."""

        def decode(rows: list[Row]) -> Receipt | None:
            same = rows_with_payload(rows, payload_sha256)
            return receipt_from_rows(self._epochs, same) if same else None

        return await self._look_up(self._queries.find_submission, (device_id, submission_id), decode)

    async def recall_delivery(self, delivery_key: str, payload_sha256: str) -> Receipt | None:
        """Return the receipt of what came last under that name of a delivery, if the bytes are the same."""

        def decode(rows: list[Row]) -> Receipt | None:
            return receipt_from_rows(self._epochs, rows) if rows else None

        return await self._look_up(self._queries.find_delivery, (delivery_key, payload_sha256), decode)

    async def _look_up(self, sql: str, parameters: Parameters, decode: Callable[[list[Row]], T]) -> T:
        """Read for a device. What meets damage is told to come again: the gateway restarts and sets the file aside."""
        try:
            return await self._reader.rows(sql, parameters, decode)
        except OutboxDamaged as damage:
            raise Stopping("the outbox is damaged: the gateway restarts with a new one") from damage

    async def commit(self, drafts: Sequence[EventDraft]) -> Receipt:
        """Return when the drafts are on disk, all or none; a redelivery returns the first receipt."""
        can_wait = isinstance(drafts[0].result, Classification)
        return await self._writer.submit(CommitDrafts(drafts, now=self._clock.now()), can_wait=can_wait)

    async def record_refusal(self, refusal: Refusal) -> None:
        """Return when the refusal is on disk."""
        await self._writer.submit(RecordRefusal(refusal=refusal))

    # --- PendingQueue ---------------------------------------------------------------------------------

    async def pending_spans(self) -> tuple[PendingSpan, ...]:
        """Return the lowest and the highest pending sequence of each priority that has any."""
        return await self._reader.rows(self._queries.select_pending_spans, (), spans_from_rows)

    async def pending(
        self,
        *,
        limit: int,
        priority: int = PRIORITY_DEFAULT,
        after_sequence: int = 0,
        before_sequence: int | None = None,
        newest_first: bool = False,
    ) -> tuple[PendingEvent, ...]:
        """Return a page of the pending events of one priority."""
        queries = self._queries
        before = SEQUENCE_END if before_sequence is None else before_sequence
        return await self._reader.rows(
            queries.select_newest_pending if newest_first else queries.select_pending,
            (priority, after_sequence, before, limit),
            self._events,
        )

    async def pending_among(self, sequences: Sequence[int]) -> tuple[PendingEvent, ...]:
        """Return those that are pending, oldest first."""
        wanted = json.dumps(list(sequences))
        return await self._reader.rows(self._queries.select_pending_among, (wanted,), self._events)

    async def pending_tombstones(self, *, limit: int) -> tuple[Tombstone, ...]:
        """Return undelivered tombstones, oldest first."""
        return await self._reader.rows(
            self._queries.select_pending_tombstones, (limit,), lambda rows: tuple(map(tombstone_from_row, rows))
        )

    async def mark_delivered(self, sequences: Sequence[int], tombstone_ids: Sequence[int]) -> None:
        """Return when it is on disk that the cloud has these."""
        request = MarkDelivered(sequences=sequences, tombstone_ids=tombstone_ids, now=self._clock.now())
        await self._writer.submit(request)

    async def mark_dead(self, sequence: int, reason: str) -> None:
        """Set a pending event aside and leave a tombstone, in one transaction."""
        await self._writer.submit(MarkDead(sequence=sequence, reason=reason))

    def watermark(self) -> Watermark:
        """Return how far the accepted sequences go."""
        epochs = self._epochs
        high = self._store.ledger.sequence_high - epochs.current.base
        return Watermark(epoch=epochs.current, sequence_high=high, former=epochs.former)

    # --- for gauges and people ------------------------------------------------------------------------

    async def state(self) -> OutboxState:
        """Return the figures, from memory but for the oldest pending event; the gauges get them too."""
        firsts = await self._reader.rows(self._queries.select_oldest_by_priority, (), lambda rows: rows)
        self._gauges.show(firsts, age_s=self.age.age_s())
        oldest = min(firsts, key=lambda row: int(row[1]), default=None)
        received_at = None if oldest is None else received_from_row(oldest[3], oldest[4:], self._store.book).at
        return outbox_state(self._store.ledger, self._store.epochs, received_at)

    # --- CommitSignal, EventReader, CommandStore ------------------------------------------------------

    async def wait_for_work(self) -> None:
        """Return when something became pending since the last return."""
        await self._work.wait()
        self._work.clear()

    async def find_event(self, device_id: str, item_id: str) -> Event | None:
        """Return the newest event with that id of that device. ``abc/2`` is item 2 of ``abc``, or an id of its own."""
        array_id, item = array_item(item_id) or (None, None)
        return await self._look_up(
            self._queries.find_item,
            {"device_id": device_id, "item_id": item_id, "array_id": array_id, "item": item},
            lambda rows: event_from_row(self._epochs, rows[0], self._store.book) if rows else None,
        )

    async def store_command(self, command: Command) -> bool:
        """Return when on disk; False if it was there already."""
        return await self._writer.submit(StoreCommand(command=command))

    async def waiting_commands(self, *, limit: int) -> tuple[Command, ...]:
        """Return commands without an outcome, oldest first."""
        return await self._reader.rows(
            self._queries.select_waiting_commands, (limit,), lambda rows: tuple(map(command_from_row, rows))
        )

    async def settle_command(self, command_id: str, outcome: CommandState, detail: str) -> None:
        """Return when the outcome is on disk."""
        await self._writer.submit(SettleCommand(command_id=command_id, outcome=outcome, detail=detail))

    # --- for the clock --------------------------------------------------------------------------------

    @property
    def book(self) -> BootBook:
        """The starts of the machine, as they are on disk."""
        return self._store.book

    async def note_offset(self, offset: ClockOffset) -> None:
        """Return when the offset of this start of the machine is on disk: what is read from now on has times by it."""
        await self._writer.submit(NoteOffset(offset=offset))

    @property
    def flash_wear(self) -> FlashWear:
        """How much was written to the disk for this file."""
        return flash_wear(
            before=self._written_before,
            since_start=self._writer.written_bytes,
            age_s=self.age.age_s(),
            events_since_start=self._store.ledger.sequence_high - self._first_sequence,
        )

    # --- for the operator and the composition root ----------------------------------------------------

    async def requeue(self, sequences: Sequence[int] | None = None) -> int:
        """Make dead letters pending again (None: all of them) and return how many became so."""
        if sequences is not None:
            return await self._writer.submit(Requeue(sequences=tuple(sequences)))
        count, after = 0, 0
        while dead := await self._reader.rows(self._queries.select_dead_sequences, (after, REQUEUE_ROWS), _numbers):
            count += await self._writer.submit(Requeue(sequences=dead))
            after = dead[-1]
        return count

    async def record_bundle(self, sha256: str, keys: Sequence[tuple[int, int]], tombstone_ids: Sequence[int]) -> None:
        """Return when it is on disk what a bundle holds: an acknowledgement of it will count."""
        now = self._clock.now()
        await self._writer.submit(RecordBundle(sha256=sha256, keys=keys, tombstone_ids=tombstone_ids, now=now))

    async def acknowledge_bundle(self, sha256: str) -> int | None:
        """Mark what was in a bundle; return how many events still waited, or None if none such was exported here."""
        marked, after = 0, 0
        while True:
            request = AcknowledgeBundle(sha256=sha256, after_key=after, now=self._clock.now())
            step = await self._writer.submit(request)
            if step is None:
                return None
            marked += step.marked
            if step.after_key is None:
                return marked
            after = step.after_key

    async def prune_step(self, now: datetime) -> int:
        """Do one step of pruning and return how many rows went; 0 means that nothing is left to do."""
        return await self._writer.submit(Prune(keeping=self._keeping, now=now))

    async def record_crash(self, payload_hashes: Sequence[str]) -> None:
        """Return when a crash is counted, on disk, against each payload that was being worked on."""
        self._crashes = await self._writer.submit(
            RecordCrash(payload_hashes=tuple(payload_hashes), now=self._clock.now())
        )

    def is_poison(self, payload_sha256: str) -> bool:
        """Return whether this payload was being worked on at two crashes or more."""
        return self._crashes.get(payload_sha256, 0) >= POISON_CRASHES

    def _events(self, rows: list[Row]) -> tuple[PendingEvent, ...]:
        return tuple([pending_from_row(self._epochs, row, self._store.book) for row in rows])


def _numbers(rows: list[Row]) -> tuple[int, ...]:
    return tuple(number for (number,) in rows)
