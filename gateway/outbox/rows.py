"""Between values and rows: what an event looks like in a table, and back. Pure.

A result is kept as text (result_text.py). Times are ISO 8601 in UTC with microseconds: text order is time order.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gateway.messages import (
    Classification,
    ClockState,
    Command,
    CommittedItem,
    Event,
    EventDraft,
    EventState,
    Kind,
    PendingEvent,
    PendingSpan,
    Receipt,
    Result,
    Summary,
    SummaryMoment,
    Tombstone,
    Transport,
    item_id,
    kind_of,
)
from gateway.outbox.epochs import EpochBook
from gateway.result_text import result_from_text, result_text
from gateway.summaries import summary_document
from gateway.timekeeping.boots import BootBook, ReceivedTime

Row = tuple[Any, ...]

# Of their values: calling an enumeration costs four times as much, and this is on the path of every event to the hub.
_KINDS = {kind.value: kind for kind in Kind}
_TRANSPORTS = {transport.value: transport for transport in Transport}

# What event_from_row and pending_from_row read, in their order.
EVENT_COLUMNS = (
    "sequence, submission_id, item, device_id, transport, kind, state, received_at, captured_at, "
    "payload_sha256, payload_bytes, id_reused, result, dead_reason, boot, boottime_s, synced, priority"
)


def time_text(moment: datetime) -> str:
    """Return ``moment`` as UTC text of fixed width. ``moment`` is timezone-aware."""
    assert moment.tzinfo is not None
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")


def row_from_draft(draft: EventDraft) -> Row:
    """Return a draft's columns for ``insert_event``, after ``sequence``, ``id_reused``, ``boot``, the age and the fate.

    The result's text is the last.
    """
    captured_at = draft.captured_at
    return (
        draft.priority,
        draft.ttl_s,
        draft.boottime_s,
        draft.clock is ClockState.SYNCED,
        draft.submission_id,
        draft.item,
        draft.device_id,
        draft.transport.value,
        kind_of(draft.result).value,
        time_text(draft.received_at),
        None if captured_at is None else time_text(captured_at),
        draft.payload_sha256,
        draft.payload_bytes,
        result_text(draft.result),
    )


def received_from_row(received_at: str, moment: Row, book: BootBook) -> ReceivedTime:
    """Return what is known of the time of a row. ``moment`` is its ``boot, boottime_s, synced``."""
    boot, boottime_s, synced = moment
    wall = datetime.fromisoformat(received_at)
    return book.received(boot=boot, boottime_s=boottime_s, wall=wall, is_synced=bool(synced))


def event_from_row(epochs: EpochBook, row: Row, book: BootBook) -> Event:
    """Return the event of a row of EVENT_COLUMNS (``find_item``), its time as ``book`` knows it."""
    received = received_from_row(row[7], row[14:17], book)
    epoch = epochs.of(row[0])
    return Event(
        epoch=epoch.epoch,
        base=epoch.base,
        sequence=row[0] - epoch.base,
        submission_id=row[1],
        item=row[2],
        device_id=row[3],
        transport=Transport(row[4]),
        kind=Kind(row[5]),
        state=EventState(row[6]),
        received_at=received.at,
        captured_at=None if row[8] is None else datetime.fromisoformat(row[8]),
        payload_sha256=row[9],
        payload_bytes=row[10],
        id_reused=bool(row[11]),
        result=_with_times(result_from_text(row[5], row[12]), book),
        dead_reason=row[13],
        priority=row[17],
        clock=received.clock,
        received_after=received.after,
        received_before=received.before,
    )


def _with_times(result: Result, book: BootBook) -> Result:
    """Return a result with the times in it, which only a summary has, as ``book`` knows them now."""
    if not isinstance(result, Summary):
        return result
    return replace(result, first=_known_now(result.first, book), last=_known_now(result.last, book))


def _known_now(moment: SummaryMoment, book: BootBook) -> SummaryMoment:
    is_synced = moment.clock is ClockState.SYNCED
    now = book.received(boot=moment.boot, boottime_s=moment.boottime_s, wall=moment.received_at, is_synced=is_synced)
    return replace(moment, received_at=now.at, clock=now.clock)


def _told_summary(text: str, book: BootBook) -> str:
    summary = _with_times(result_from_text(Kind.SUMMARY, text), book)
    assert isinstance(summary, Summary), "its kind says so"
    return json.dumps(summary_document(summary), ensure_ascii=False, separators=(",", ":"))


def pending_from_row(epochs: EpochBook, row: Row, book: BootBook) -> PendingEvent:
    """Return what is to be sent of a row of EVENT_COLUMNS (``select_pending``), its time as ``book`` knows it now."""
    key, kind = row[0], _KINDS[row[5]]
    epoch = epochs.of(key)
    at, clock = datetime.fromisoformat(row[7]), ClockState.SYNCED
    after = before = None
    if not row[16]:
        received = book.received(boot=row[14], boottime_s=row[15], wall=at, is_synced=False)
        at, clock, after, before = received.at, received.clock, received.after, received.before
    return PendingEvent(  # without the names: in half the time
        epoch.epoch,
        key - epoch.base,
        row[1] if row[2] is None else item_id(row[1], row[2]),
        row[3],
        _TRANSPORTS[row[4]],
        kind,
        at,
        None if row[8] is None else datetime.fromisoformat(row[8]),
        row[9],
        bool(row[11]),
        row[12] if kind is not Kind.SUMMARY else _told_summary(row[12], book),
        row[17],
        clock,
        after,
        before,
        epoch.base,
    )


def receipt_from_drafts(epochs: EpochBook, first_key: int, drafts: Sequence[EventDraft], *, id_reused: bool) -> Receipt:
    """Return the first receipt: ``drafts`` took the keys from ``first_key`` on."""
    epoch = epochs.current
    return Receipt(
        submission_id=drafts[0].submission_id,
        device_id=drafts[0].device_id,
        duplicate=False,
        items=tuple(
            CommittedItem(
                epoch=epoch.epoch,
                sequence=first_key - epoch.base + n,
                item_id=item_id(draft.submission_id, draft.item),
                received_at=draft.received_at,
                id_reused=id_reused,
                result=draft.result,
                clock=draft.clock,
            )
            for n, draft in enumerate(drafts)
        ),
    )


def receipt_from_rows(epochs: EpochBook, rows: Sequence[Row]) -> Receipt:
    """Return the first receipt again, from rows of ``find_submission`` that have the same payload hash."""
    return Receipt(
        submission_id=rows[0][1],
        device_id=rows[0][3],
        duplicate=True,
        items=tuple(
            CommittedItem(
                epoch=epochs.of(key).epoch,
                sequence=key - epochs.of(key).base,
                item_id=item_id(submission_id, item),
                received_at=datetime.fromisoformat(received_at),
                id_reused=bool(id_reused),
                result=result_from_text(kind, result),
                clock=ClockState.SYNCED if synced else ClockState.UNSYNCED,
            )
            for key, submission_id, item, _, kind, received_at, _, id_reused, result, synced in rows
        ),
    )


def rows_with_payload(rows: Sequence[Row], payload_sha256: str) -> list[Row]:
    """Return those rows of ``find_submission`` that have this payload hash."""
    return [row for row in rows if row[6] == payload_sha256]


def tombstone_from_row(row: Row) -> Tombstone:
    """Return the tombstone of a row of the tombstone queries."""
    return Tombstone(
        tombstone_id=row[0],
        epoch=row[1],
        first_sequence=row[2],
        last_sequence=row[3],
        reason=row[4],
        reasons=json.loads(row[5]) if row[5] else {},
        labels=json.loads(row[6]),
    )


def label_from_row(kind: str, result: str) -> str | None:
    """Return the top label of a stored classification; None for anything else."""
    stored = result_from_text(kind, result)
    return stored.top_label if isinstance(stored, Classification) else None


def spans_from_rows(rows: Sequence[Row]) -> tuple[PendingSpan, ...]:
    """Return the spans of ``select_pending_spans``, without the priorities under which nothing waits."""
    return tuple(
        PendingSpan(priority=priority, first_key=first, last_key=last)
        for priority, first, last in rows
        if first is not None
    )


def array_item(item_text: str) -> tuple[str, int] | None:
    """Split ``abc/2`` into ``("abc", 2)``; None where the end is not a number written plainly."""
    array_id, slash, number = item_text.rpartition("/")
    if not slash or not number.isascii() or not number.isdigit() or str(int(number)) != number:
        return None
    return array_id, int(number)


def command_from_row(row: Row) -> Command:
    """Return the command of a row of ``select_waiting_commands``."""
    return Command(
        command_id=row[0], received_at=datetime.fromisoformat(row[1]), body=row[2], properties=json.loads(row[3])
    )
