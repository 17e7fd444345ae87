"""A look into an outbox file from outside, whether or not a gateway runs on it.

Read-only and in short statements (a long-lived reader would let the WAL grow
without bound). Changes go through the running gateway; the one here, requeue,
takes the lock and so works only while none runs. Everything blocks.

The only module that imports sqlite-utils (34 MB of memory, half a second): the
command line imports it where needed, the running gateway never.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import sqlite_utils

from gateway.clock import SystemClock
from gateway.errors import OperatorError
from gateway.messages import (
    Event,
    EventState,
    OutboxState,
    PendingEvent,
    Refusal,
    Tombstone,
    Transport,
)
from gateway.outbox.boot_rows import load_boots
from gateway.outbox.connection import DatabaseError, check_header, open_for_reading, unusable
from gateway.outbox.epochs import EpochBook
from gateway.outbox.event_text import event_writer
from gateway.outbox.figures import outbox_state
from gateway.outbox.files import DATABASE_NAME, DirectoryLock
from gateway.outbox.ledger import load_epochs, load_ledger
from gateway.outbox.opening import open_store
from gateway.outbox.policy_rows import load_policy_counts
from gateway.outbox.queries import load_queries
from gateway.outbox.requests import Requeue
from gateway.outbox.rows import (
    EVENT_COLUMNS,
    array_item,
    event_from_row,
    pending_from_row,
    received_from_row,
    tombstone_from_row,
)
from gateway.outbox.salvage import DONE, SalvageState, load_salvages
from gateway.outbox.schema import check_version, load_migrations
from gateway.outbox.store import Store
from gateway.outbox.wear import FlashWear, flash_wear
from gateway.settings import OutboxSettings
from gateway.timekeeping.boots import BootBook

# Rows of one statement: short enough to let the WAL be reset between two of them.
PAGE_ROWS = 500
# Of a UUIDv7 the time to the millisecond: no two epochs of a file begin alike.
EPOCH_NAME_CHARACTERS = 13
Progress = Callable[[int, int], None]


def read_state(data_dir: Path) -> OutboxState:
    """Return the figures of the file. Raises OperatorError where there is no outbox yet."""
    queries = load_queries()
    with _reading(data_dir) as database:
        connection = database.conn
        ledger, epochs = load_ledger(connection, queries), load_epochs(connection, queries)
        oldest = connection.execute(queries.select_oldest_pending).fetchone()
        received_at = received_from_row(oldest[0], oldest[1:], _book(database)).at if oldest else None
        return outbox_state(ledger, epochs, received_at)


def read_policy_counts(data_dir: Path) -> Mapping[str, int]:
    """Return what each policy has held back since the file was made, summaries made, and windows open now."""
    with _reading(data_dir) as database:
        return load_policy_counts(database.conn, load_queries())


def read_pending_by_priority(data_dir: Path) -> Mapping[int, datetime]:
    """Return since when the oldest pending event of each priority has waited: look-ups, not a count of all."""
    queries = load_queries()
    with _reading(data_dir) as database:
        book = _book(database)
        rows = database.conn.execute(queries.select_oldest_by_priority).fetchall()
    return {row[0]: received_from_row(row[3], row[4:], book).at for row in rows}


def read_flash_wear(data_dir: Path) -> FlashWear:
    """Return what was written for the file, as it was saved last: at a stop, or within a quarter of an hour."""
    queries = load_queries()
    with _reading(data_dir) as database:
        (written,) = database.conn.execute(queries.select_written_bytes).fetchone()
        boots = load_boots(database.conn, queries)
    age_s = boots[-1].last_age_s if boots else 0.0
    return flash_wear(before=written, since_start=0, age_s=age_s, events_since_start=0)


def read_salvages(data_dir: Path) -> tuple[SalvageState, ...]:
    """Return the damaged files that this one follows, and how far they were taken over."""
    with _reading(data_dir) as database:
        return load_salvages(database.conn)


def list_events(
    data_dir: Path, *, state: EventState | None = None, device_id: str | None = None, limit: int = 20
) -> Iterator[Event]:
    """Yield up to ``limit`` events, newest first."""
    with _reading(data_dir) as database:
        for page in _pages(database, state, device_id, newest_first=True):
            yield from page[:limit]
            limit -= len(page)
            if limit <= 0:
                return


def show_event(data_dir: Path, which: str | int) -> Event:
    """Return the event of that name (:func:`event_name`), or the newest with that id of any device.

    Raises OperatorError.
    """
    text = str(which)
    array_id, item = array_item(text) or (None, None)
    choices: list[tuple[str, list[Any]]] = [
        ("(submission_id = ? AND item IS NULL) OR (submission_id = ? AND item = ?)", [text, array_id, item])
    ]
    with _reading(data_dir) as database:
        key = _key_of(load_epochs(database.conn, load_queries()), text)
        if key is not None:  # ids may be digits too (a counter); what `list` shows first comes first
            choices.insert(0, ("sequence = ?", [key]))
        for where, parameters in choices:
            for event in _events(database, where, parameters, order="sequence DESC", limit=1):
                return event
    raise OperatorError(
        f"no event {text} in {data_dir / DATABASE_NAME}: "
        "`gateway outbox list` shows what is there; delivered events are pruned after outbox.delivered_keep_h"
    )


def event_name(event: Event, epoch: str) -> str:
    """Return how people name an event: its sequence in the running ``epoch``, else with the start of its own before it.

    A file that took events over from a damaged one has several epochs, and so the same sequence several times.
    """
    return str(event.sequence) if event.epoch == epoch else f"{event.epoch[:EPOCH_NAME_CHARACTERS]}/{event.sequence}"


def keys_of(data_dir: Path, names: Sequence[str]) -> tuple[int, ...]:
    """Return the keys of events by the names that :func:`event_name` gives. Raises OperatorError."""
    with _reading(data_dir) as database:
        epochs = load_epochs(database.conn, load_queries())
    keys = [_key_of(epochs, name) for name in names]
    for name, key in zip(names, keys, strict=True):
        if key is None:
            raise OperatorError(f"{name} names no event: it takes a sequence as `gateway outbox list` shows it")
    return tuple(key for key in keys if key is not None)


def _key_of(epochs: EpochBook, name: str) -> int | None:
    begin, slash, number = name.rpartition("/")
    if not (number.isascii() and number.isdigit()):
        return None
    if not slash:
        return epochs.current.base + int(number)
    known = [epoch for epoch in epochs.all if len(begin) >= EPOCH_NAME_CHARACTERS and epoch.epoch.startswith(begin)]
    if len(known) != 1:
        return None
    key = known[0].base + int(number)
    return key if epochs.of(key) == known[0] else None


def command_outcome(data_dir: Path, command_id: str) -> tuple[str, str]:
    """Return the state of a command (waiting, told, expired, invalid) and why. Raises OperatorError if unknown."""
    with _reading(data_dir) as database:
        rows = list(database.table("commands").rows_where("command_id = ?", [command_id]))
    if not rows:
        raise OperatorError(f"no command {command_id} in {data_dir / DATABASE_NAME}")
    return str(rows[0]["state"]), str(rows[0]["outcome_detail"])


def list_refusals(data_dir: Path, *, limit: int = 20) -> Iterator[Refusal]:
    """Yield up to ``limit`` refusals, newest first."""
    with _reading(data_dir) as database:
        rows = list(database.table("refusals").rows_where(order_by="refusal_id DESC", limit=limit))
    for row in rows:
        yield Refusal(
            device_id=row["device_id"],
            transport=Transport(row["transport"]),
            refused_at=datetime.fromisoformat(row["refused_at"]),
            reason=row["reason"],
            detail=row["detail"],
            payload_sha256=row["payload_sha256"],
            payload_bytes=row["payload_bytes"],
        )


def export_events(
    data_dir: Path,
    out: TextIO,
    *,
    fmt: str = "jsonl",
    state: EventState | None = None,
    device_id: str | None = None,
    on_progress: Progress = lambda _done, _total: None,
) -> int:
    """Write events to ``out``, oldest first, and return how many. ``fmt`` is jsonl or csv (one line an event).

    ``on_progress(done, total)`` is called after every page of rows.
    """
    write = event_writer(fmt, out)
    done = 0
    with _reading(data_dir) as database:
        total = database.table("events").count_where(*_filter(state, device_id))
        for page in _pages(database, state, device_id, newest_first=False):
            for event in page:
                write(event)
            done += len(page)
            on_progress(done, max(done, total))  # a running gateway may have added some meanwhile
    return done


def requeue_offline(
    data_dir: Path, sequences: Sequence[int] | None = None, *, settings: OutboxSettings | None = None
) -> int:
    """Make dead letters pending again (None: all); return how many. Raises DataDirectoryLocked while a gateway runs."""
    with changing(data_dir, settings or OutboxSettings()) as store:
        if sequences is None:
            with _reading(data_dir) as database:
                dead = database.table("events").rows_where("state = 'dead'", select="sequence")
                sequences = [row["sequence"] for row in dead]
        committed = store.transact([Requeue(sequences=tuple(sequences))])
    (count,) = committed.outcomes
    assert isinstance(count, int)
    return count


@contextlib.contextmanager
def changing(data_dir: Path, settings: OutboxSettings) -> Iterator[Store]:
    """Enter: the outbox, locked and open for a change. Raises DataDirectoryLocked while a gateway runs."""
    _existing(data_dir)
    lock = DirectoryLock(data_dir)
    try:
        store = open_store(data_dir, settings=settings, clock=SystemClock())
        try:
            yield store
        finally:
            store.close()
    finally:
        lock.release()


class PendingReader:
    """What waits for the cloud, in pages: all of it that there is when this begins."""

    def __init__(self, database: sqlite_utils.Database, state: OutboxState) -> None:
        self.state = state
        self._connection = database.conn
        self._queries = load_queries()
        self._epochs = load_epochs(database.conn, self._queries)
        self._book = _book(database)
        (self._last,) = database.conn.execute("SELECT COALESCE(MAX(sequence), 0) FROM events").fetchone()
        self.is_salvaged = all(salvage.stage == DONE for salvage in load_salvages(database.conn))

    def pages(self) -> Iterator[list[PendingEvent]]:
        """Yield the pending events by key."""
        after = 0
        while rows := self._connection.execute(
            self._queries.select_pending_page, (after, self._last, PAGE_ROWS)
        ).fetchall():
            yield [pending_from_row(self._epochs, row, self._book) for row in rows]
            after = rows[-1][0]

    def unsettled_keys(self, first: int, last: int) -> Iterator[int]:
        """Yield the keys between two of what is, or may become, pending now."""
        sql = (
            "SELECT sequence FROM events NOT INDEXED "
            "WHERE state IN ('pending', 'dead') AND sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?"
        )
        while rows := self._connection.execute(sql, (first, last, PAGE_ROWS)).fetchall():
            yield from (key for (key,) in rows)
            first = rows[-1][0] + 1

    def tombstones(self) -> tuple[Tombstone, ...]:
        """Return the tombstones that the cloud has not acknowledged."""
        rows = self._connection.execute(self._queries.select_pending_tombstones, (-1,)).fetchall()
        return tuple(map(tombstone_from_row, rows))


@contextlib.contextmanager
def reading_pending(data_dir: Path) -> Iterator[PendingReader]:
    """Enter: what waits for the cloud. Raises OperatorError while a damaged file is still being taken over."""
    state = read_state(data_dir)
    with _reading(data_dir) as database:
        reader = PendingReader(database, state)
        if not reader.is_salvaged:
            raise OperatorError(
                "a damaged file is still being taken over: export when `gateway outbox stats` says done"
            )
        yield reader


def _existing(data_dir: Path) -> Path:
    path = data_dir / DATABASE_NAME
    if not path.exists():
        raise OperatorError(
            f"there is no outbox in {data_dir} yet: start the gateway once, or name its data with gateway.data_dir"
        )
    return path


@contextlib.contextmanager
def _reading(data_dir: Path) -> Iterator[sqlite_utils.Database]:
    """Enter: the outbox of ``data_dir``, read-only. SQLite's errors leave as OutboxUnusable."""
    path = _existing(data_dir)
    check_header(path)
    try:
        with contextlib.closing(open_for_reading(path)) as connection:
            known = len(load_migrations())
            if check_version(connection, known=known) < known:
                raise OperatorError(f"{path} was written by an older version: start this gateway once, it is migrated")
            yield sqlite_utils.Database(connection)
    except DatabaseError as error:
        raise unusable(path, error) from error


def _filter(state: EventState | None, device_id: str | None) -> tuple[str, list[Any]]:
    chosen = [(f"{column} = ?", value) for column, value in (("state", state), ("device_id", device_id)) if value]
    return " AND ".join(["1", *(text for text, _ in chosen)]), [str(value) for _, value in chosen]


def _pages(
    database: sqlite_utils.Database, state: EventState | None, device_id: str | None, *, newest_first: bool
) -> Iterator[list[Event]]:
    where, parameters = _filter(state, device_id)
    beyond, order = ("sequence < ?", "sequence DESC") if newest_first else ("sequence > ?", "sequence")
    edge = 1 << 62 if newest_first else 0
    while page := _events(database, f"{where} AND {beyond}", [*parameters, edge], order=order, limit=PAGE_ROWS):
        yield page
        edge = page[-1].key


def _events(
    database: sqlite_utils.Database, where: str, parameters: Sequence[Any], *, order: str, limit: int
) -> list[Event]:
    epochs, book = load_epochs(database.conn, load_queries()), _book(database)
    rows = database.table("events").rows_where(where, parameters, order_by=order, select=EVENT_COLUMNS, limit=limit)
    return [event_from_row(epochs, tuple(row.values()), book) for row in rows]


def _book(database: sqlite_utils.Database) -> BootBook:
    return BootBook(load_boots(database.conn, load_queries()))
