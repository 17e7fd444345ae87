"""What policies hold back where that hangs on what came before (on_change, summaries), in the writer's transaction.

So nothing is counted twice or forgotten, whatever is killed when: an event, what
is remembered of it for the next one, its place in a window and the summary that
closes the window are on disk together or not at all.

A window begins with its first event and is closed by the first event after its
time, or by the writer's look every few seconds: devices that fall silent get
their summaries too. Its time is age (gateway/timekeeping/boots.py), no wall clock.

Limits: pruning.LAST_SENT_KEPT_MAX devices are remembered for on_change; the
longest unsent are forgotten, and send once more. A window that finds no room in
a full file stays open.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from gateway.messages import (
    ClockState,
    EventDraft,
    EventState,
    IdReuse,
    Kind,
    OnChange,
    Summary,
    SummaryMode,
    SummaryMoment,
    Transport,
    kind_of,
)
from gateway.outbox.policy_rows import has_windows
from gateway.outbox.pruning import make_room
from gateway.outbox.rows import Row, row_from_draft
from gateway.outbox.transaction import Transaction
from gateway.policies import essence, has_changed
from gateway.result_text import moment_from_text, moment_text
from gateway.summaries import Tally

MIN_PROBABILITY = "min_probability"
ON_CHANGE = "on_change"
SUMMARY = "summary"
SUMMARIES = "summaries"

# About 10 ms of one transaction; the rest follows at once.
WINDOWS_PER_STEP = 50
# The text of a summary beside what every row costs.
SUMMARY_BYTES = 2048


def fates_of(transaction: Transaction, drafts: Sequence[EventDraft]) -> list[EventState]:
    """Return what becomes of the drafts of one submission, each compared with what was sent before it."""
    return [_fate(transaction, draft) for draft in drafts]


def due_window(transaction: Transaction, draft: EventDraft) -> Row | None:
    """Return the window of the draft's device if its time is over."""
    if draft.summarise is None:
        return None
    window = _window(transaction, draft)
    return window if window is not None and window[4] <= transaction.cutoff_s(window[2]) else None


def close_window(transaction: Transaction, window: Row, *, now: datetime) -> None:
    """Turn a window into its summary, an event like any other. There must be room for it."""
    draft = _summary_draft(transaction, window, now=now)
    ledger, age_s = transaction.ledger, transaction.age_s
    ledger.sequence_high += 1
    ledger.pending += 1
    row = (ledger.sequence_high, False, transaction.book.current.number, age_s, draft.fate, *row_from_draft(draft))
    transaction.connection.execute(transaction.queries.insert_event, row)
    transaction.connection.execute(transaction.queries.delete_window, window[:2])
    transaction.work_added = True
    transaction.policies[SUMMARIES] += 1


def count_in_window(transaction: Transaction, drafts: Sequence[EventDraft], first_key: int) -> None:
    """Count the drafts of one submission as they came, stored from ``first_key`` on, where their policy says so.

    What on_change holds back is counted like the rest; a result that nobody believes counts for no label.
    """
    head, last = drafts[0], drafts[-1]
    if head.summarise is None:
        return
    window = _window(transaction, head)
    tally = Tally() if window is None else Tally.from_json(window[9])
    for draft in drafts:
        tally.add(draft.result, is_unsure=draft.fate is not EventState.PENDING)
    began = (transaction.age_s, first_key, _moment(transaction, head))
    if window is not None:
        began = (window[4], window[5], window[7])
    row = (
        head.device_id,
        kind_of(head.result),
        head.summarise.window_s if window is None else window[2],
        head.priority,
        *began[:2],
        first_key + len(drafts) - 1,
        began[2],
        _moment(transaction, last),
        tally.to_json(),
    )
    transaction.connection.execute(transaction.queries.save_window, row)
    transaction.has_windows = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseWindows:
    """Close windows whose time is over."""

    failpoint: ClassVar[str] = "close_windows"
    takes_space: ClassVar[bool] = True
    now: datetime

    def apply(self, transaction: Transaction) -> int:
        """Return how many were closed; fewer than WINDOWS_PER_STEP: none is due now, or the file is full."""
        windows = _due_windows(transaction)
        for closed, window in enumerate(windows):
            if not make_room(transaction, rows=1, bytes_wanted=SUMMARY_BYTES + len(window[9]), now=self.now):
                return closed
            close_window(transaction, window, now=self.now)
        transaction.has_windows = has_windows(transaction.connection, transaction.queries)
        return len(windows)


def _due_windows(transaction: Transaction) -> list[Row]:
    connection, queries = transaction.connection, transaction.queries
    found: list[Row] = []
    window_s = -1.0
    while len(found) < WINDOWS_PER_STEP:
        (window_s,) = connection.execute(queries.select_next_window_length, (window_s,)).fetchone()
        if window_s is None:
            break
        bounds = (window_s, transaction.cutoff_s(window_s), WINDOWS_PER_STEP - len(found))
        found += connection.execute(queries.select_due_windows, bounds).fetchall()
    return found


def _fate(transaction: Transaction, draft: EventDraft) -> EventState:
    if draft.fate is not EventState.PENDING:
        transaction.policies[MIN_PROBABILITY] += 1
        return draft.fate
    instead = draft.summarise is not None and draft.summarise.mode is SummaryMode.INSTEAD
    if draft.on_change is not None:
        if _is_news(transaction, draft, draft.on_change):
            return EventState.PENDING
        transaction.policies[SUMMARY if instead else ON_CHANGE] += 1
        return EventState.SUMMARISED if instead else EventState.FILTERED
    if instead:
        transaction.policies[SUMMARY] += 1
        return EventState.SUMMARISED
    return EventState.PENDING


def _is_news(transaction: Transaction, draft: EventDraft, on_change: OnChange) -> bool:
    """Return whether the draft is to be sent for what was sent last, and remember it if so."""
    connection, queries = transaction.connection, transaction.queries
    key = (draft.device_id, kind_of(draft.result))
    last = connection.execute(queries.select_last_sent, key).fetchone()
    if last is not None:
        is_recent = on_change.max_s is None or last[1] > transaction.cutoff_s(on_change.max_s)
        if is_recent and not has_changed(draft.result, last[0], on_change):
            return False
    connection.execute(queries.save_last_sent, (*key, essence(draft.result, on_change), transaction.age_s))
    return True


def _window(transaction: Transaction, draft: EventDraft) -> Row | None:
    key = (draft.device_id, kind_of(draft.result))
    row: Row | None = transaction.connection.execute(transaction.queries.select_window, key).fetchone()
    return row


def _moment(transaction: Transaction, draft: EventDraft) -> str:
    return moment_text(
        SummaryMoment(
            received_at=draft.received_at,
            clock=draft.clock,
            boot=transaction.book.current.number,
            boottime_s=draft.boottime_s,
        )
    )


def _summary_draft(transaction: Transaction, window: Row, *, now: datetime) -> EventDraft:
    device_id, kind, window_s, priority, _, first_key, last_key, first, last, tally = window
    counts_json = json.dumps(Tally.from_json(tally).counts(), ensure_ascii=False, separators=(",", ":"))
    offset = transaction.book.current.offset_at(transaction.boottime_s)
    return EventDraft(
        submission_id=f"summary-{first_key}-{last_key}",  # of this device, no other window begins or ends there
        item=None,
        device_id=device_id,
        transport=Transport.GATEWAY,
        received_at=now if offset is None else offset.time_at(transaction.boottime_s),
        captured_at=None,
        payload_sha256=hashlib.sha256(counts_json.encode()).hexdigest(),
        payload_bytes=len(counts_json.encode()),
        result=Summary(
            of_kind=Kind(kind),
            window_s=window_s,
            first=moment_from_text(first),
            last=moment_from_text(last),
            counts_json=counts_json,
        ),
        on_id_reuse=IdReuse.NEW_EVENT,
        boottime_s=transaction.boottime_s,
        clock=ClockState.UNSYNCED if offset is None else ClockState.SYNCED,
        priority=priority,
    )
