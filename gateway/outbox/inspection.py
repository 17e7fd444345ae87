"""A look into an outbox file from outside, whether or not a gateway runs on it.

Read-only and in short statements (a long-lived reader would let the WAL grow
without bound). Changes go through the running gateway; the one here, requeue,
takes the lock and so works only while none runs. Everything blocks.
"""

import contextlib
import csv
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from gateway.errors import OperatorError
from gateway.messages import Event, EventState, OutboxState, Reading, Refusal, Transport
from gateway.outbox.connection import check_header, open_for_reading, unusable
from gateway.outbox.files import DATABASE_NAME, DirectoryLock
from gateway.outbox.ledger import load_epoch, load_ledger
from gateway.outbox.opening import open_store
from gateway.outbox.queries import load_queries
from gateway.outbox.requests import Requeue
from gateway.outbox.rows import EVENT_COLUMNS, Row, array_item, event_from_row, result_text
from gateway.outbox.schema import check_version, load_migrations
from gateway.settings import OutboxSettings

# Rows of one statement: short enough to let the WAL be reset between two of them.
PAGE_ROWS = 500
Progress = Callable[[int, int], None]
_CSV_FIELDS = (
    "sequence",
    "item_id",
    "device_id",
    "transport",
    "kind",
    "state",
    "received_at",
    "captured_at",
    "label",
    "probability",
    "values",
    "id_reused",
    "payload_sha256",
    "payload_bytes",
    "dead_reason",
)


def read_state(data_dir: Path) -> OutboxState:
    """Return the figures of the file. Raises OperatorError where there is no outbox yet."""
    queries = load_queries()
    with _reading(data_dir) as connection:
        ledger = load_ledger(connection, queries)
        oldest = connection.execute(queries.select_oldest_pending).fetchone()
        return OutboxState(
            epoch=load_epoch(connection, queries),
            sequence_high=ledger.sequence_high,
            pending=ledger.pending,
            delivered=ledger.delivered,
            dead=ledger.dead,
            refusals=ledger.refusals,
            tombstones_pending=ledger.tombstones_pending,
            bytes_used=ledger.bytes_used,
            oldest_pending_received_at=datetime.fromisoformat(oldest[0]) if oldest else None,
        )


def list_events(
    data_dir: Path, *, state: EventState | None = None, device_id: str | None = None, limit: int = 20
) -> Iterator[Event]:
    """Yield up to ``limit`` events, newest first."""
    with _reading(data_dir) as connection:
        epoch = load_epoch(connection, load_queries()).epoch
        where, parameters = _filters(state, device_id)
        below: int | None = None
        while limit > 0:
            page_where = [*where, *(["sequence < ?"] if below is not None else [])]
            bounds = [*parameters, *([below] if below is not None else []), min(limit, PAGE_ROWS)]
            rows = _select(connection, page_where, "sequence DESC", bounds)
            if not rows:
                return
            yield from (event_from_row(epoch, row) for row in rows)
            limit -= len(rows)
            below = rows[-1][0]


def show_event(data_dir: Path, which: str | int) -> Event:
    """Return the event with that sequence, or the newest with that id of any device. Raises OperatorError."""
    text = str(which)
    with _reading(data_dir) as connection:
        epoch = load_epoch(connection, load_queries()).epoch
        # Ids of digits alone are common (a counter): a sequence is tried first, as `list` shows it.
        if text.isascii() and text.isdigit():
            rows = _select(connection, ["sequence = ?"], "sequence", [int(text), 1])
            if rows:
                return event_from_row(epoch, rows[0])
        array_id, item = array_item(text) or (None, None)
        ids = ["((submission_id = ? AND item IS NULL) OR (submission_id = ? AND item = ?))"]
        rows = _select(connection, ids, "sequence DESC", [text, array_id, item, 1])
        if rows:
            return event_from_row(epoch, rows[0])
    raise OperatorError(
        f"no event {text} in {data_dir / DATABASE_NAME}: "
        "`gateway outbox list` shows what is there; delivered events are pruned after outbox.delivered_keep_h"
    )


def list_refusals(data_dir: Path, *, limit: int = 20) -> Iterator[Refusal]:
    """Yield up to ``limit`` refusals, newest first."""
    with _reading(data_dir) as connection:
        rows = connection.execute(
            "SELECT device_id, transport, refused_at, reason, detail, payload_sha256, payload_bytes"
            " FROM refusals ORDER BY refusal_id DESC LIMIT ?",
            (limit,),
        ).fetchall()
    for row in rows:
        yield Refusal(
            device_id=row[0],
            transport=Transport(row[1]),
            refused_at=datetime.fromisoformat(row[2]),
            reason=row[3],
            detail=row[4],
            payload_sha256=row[5],
            payload_bytes=row[6],
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
    if fmt not in {"jsonl", "csv"}:
        raise OperatorError(f"unknown format {fmt!r}: use jsonl or csv")
    write = _csv_writer(out) if fmt == "csv" else _jsonl_writer(out)
    done = 0
    with _reading(data_dir) as connection:
        where, parameters = _filters(state, device_id)
        total = _count(connection, where, parameters)
        for page in _pages(connection, where, parameters):
            for event in page:
                write(event)
            done += len(page)
            on_progress(done, max(done, total))
    return done


def requeue_offline(
    data_dir: Path, sequences: Sequence[int] | None = None, *, settings: OutboxSettings | None = None
) -> int:
    """Make dead letters pending again (None: all) and return how many. Raises DataDirectoryLocked while a gateway runs."""
    _existing(data_dir)
    lock = DirectoryLock(data_dir)
    try:
        store = open_store(data_dir, settings=settings or OutboxSettings(), now=datetime.now(UTC))
        try:
            return _requeue(store, data_dir, sequences)
        finally:
            store.close()
    finally:
        lock.release()
