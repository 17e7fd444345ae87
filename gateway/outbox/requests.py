"""What the writer thread is asked to do: each request is one change, applied inside the writer's transaction.

A request that refuses raises a SubmissionError before it writes; any other
error undoes the whole of it. It touches nothing but the transaction it is given.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol, TypeVar

from gateway.errors import OutboxFull, SubmissionIdReused
from gateway.messages import Command, CommandState, EventDraft, EventState, IdReuse, Receipt, Refusal, kind_of
from gateway.outbox.holding import SUMMARY_BYTES, close_window, count_in_window, due_window, fates_of
from gateway.outbox.lifecycle import step
from gateway.outbox.pruning import Keeping, make_room, prune
from gateway.outbox.rows import (
    Row,
    receipt_from_drafts,
    receipt_from_rows,
    row_from_draft,
    rows_with_payload,
    time_text,
)
from gateway.outbox.tombstones import bury, delete_tombstones, exhume, label_counts
from gateway.outbox.transaction import Transaction

T_co = TypeVar("T_co", covariant=True)

# What a row costs beside its result text: columns, index entries, page overhead. Counts between two commits only;
# the true size is measured after each.
ROW_OVERHEAD_BYTES = 600
CRASH_SUSPECTS_MAX = 1000


class Request(Protocol[T_co]):
    """``failpoint`` names the request in failpoints; ``takes_space`` ones are refused first when the disk is full."""

    failpoint: ClassVar[str]
    takes_space: ClassVar[bool]

    def apply(self, transaction: Transaction) -> T_co:
        """Make the change. The caller commits, and rolls back on any error that is not a SubmissionError."""


class CommitDrafts:
    """Store one submission, or recognise it."""

    failpoint: ClassVar[str] = "commit"
    takes_space: ClassVar[bool] = True
    __slots__ = ("_bytes", "_drafts", "_now", "_rows")

    def __init__(self, drafts: Sequence[EventDraft], *, now: datetime) -> None:
        assert drafts, "a submission has at least one item"
        self._drafts = drafts
        self._now = now
        self._rows = [row_from_draft(draft) for draft in drafts]
        self._bytes = sum([len(row[-1]) for row in self._rows]) + ROW_OVERHEAD_BYTES * len(self._rows)

    def apply(self, transaction: Transaction) -> Receipt:
        """Return the receipt. Raises SubmissionIdReused or OutboxFull before anything is stored."""
        repeated = self._repeated_delivery(transaction)
        if repeated is not None:
            return repeated
        head = self._drafts[0]
        key = (head.device_id, head.submission_id)
        known = transaction.connection.execute(transaction.queries.find_submission, key).fetchall()
        if known:
            same = rows_with_payload(known, head.payload_sha256)
            if same:
                return receipt_from_rows(transaction.epochs, same)
            if head.on_id_reuse is IdReuse.REJECT:
                raise SubmissionIdReused(f"{head.device_id} has used the id {head.submission_id} for other bytes")
        due = due_window(transaction, head)
        rows, bytes_wanted = len(self._rows), self._bytes
        if due is not None:
            rows, bytes_wanted = rows + 1, bytes_wanted + SUMMARY_BYTES + len(due[-1])
        if not make_room(transaction, rows=rows, bytes_wanted=bytes_wanted, now=self._now):
            raise OutboxFull(_how_full(transaction))
        if due is not None:
            close_window(transaction, due, now=self._now)
        self._remember_delivery(transaction)
        return self._store(transaction, id_reused=bool(known))

    def _repeated_delivery(self, transaction: Transaction) -> Receipt | None:
        """Return the first receipt if the transport says that this is a repetition, and it is one."""
        head = self._drafts[0]
        if head.delivery is None or not head.delivery.repeated:
            return None
        key = (head.delivery.key, head.payload_sha256)
        known = transaction.connection.execute(transaction.queries.find_delivery, key).fetchall()
        return receipt_from_rows(transaction.epochs, known) if known else None

    def _remember_delivery(self, transaction: Transaction) -> None:
        head = self._drafts[0]
        if head.delivery is None:
            return
        row = (
            head.delivery.key,
            head.payload_sha256,
            head.device_id,
            head.submission_id,
            time_text(head.received_at),
            transaction.age_s,
        )
        transaction.connection.execute(transaction.queries.remember_delivery, row)

    def _store(self, transaction: Transaction, *, id_reused: bool) -> Receipt:
        ledger, execute = transaction.ledger, transaction.connection.execute
        insert = transaction.queries.insert_event
        first = ledger.sequence_high + 1
        boot, age_s = transaction.book.current.number, transaction.age_s
        fates = fates_of(transaction, self._drafts)
        for sequence, (fate, row) in enumerate(zip(fates, self._rows, strict=True), first):
            execute(insert, (sequence, id_reused, boot, age_s, fate, *row))
        ledger.sequence_high += len(self._rows)
        ledger.bytes_used += self._bytes
        count_in_window(transaction, self._drafts, first)
        self._count(transaction, fates, first)
        return receipt_from_drafts(transaction.epochs, first, self._drafts, id_reused=id_reused)

    def _count(self, transaction: Transaction, fates: Sequence[EventState], first: int) -> None:
        """Add the rows, whose first sequence is ``first``, to the ledger; what is held back is buried later."""
        ledger, counts = transaction.ledger, Counter(fates)
        ledger.pending += counts[EventState.PENDING]
        ledger.held_back += counts[EventState.FILTERED] + counts[EventState.SUMMARISED]
        ledger.filtered_total += counts[EventState.FILTERED]
        ledger.summarised_total += counts[EventState.SUMMARISED]
        transaction.held_back += [
            (fate, first + n, kind_of(self._drafts[n].result), self._rows[n][-1])
            for n, fate in enumerate(fates)
            if fate is not EventState.PENDING
        ]
        # What is held back wakes nobody: word of it travels with what is sent, or waits (cloud.tombstone_wait_s).
        transaction.work_added = transaction.work_added or bool(counts[EventState.PENDING])


def _how_full(transaction: Transaction) -> str:
    ledger, caps = transaction.ledger, transaction.caps
    return (
        f"{ledger.pending} events wait for the cloud and {ledger.dead} are dead letters: "
        f"{ledger.rows} of {caps.rows_max} rows, {ledger.bytes_used} of {caps.bytes_max} bytes used"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkDelivered:
    """The cloud has acknowledged these. Those that are not pending stay as they are."""

    failpoint: ClassVar[str] = "mark_delivered"
    takes_space: ClassVar[bool] = False
    sequences: Sequence[int]
    tombstone_ids: Sequence[int]
    now: datetime

    def apply(self, transaction: Transaction) -> None:
        """Mark the events and drop the tombstones: neither is sent again."""
        connection, ledger = transaction.connection, transaction.ledger
        old, new = step(EventState.PENDING, EventState.DELIVERED)
        changed = connection.execute(
            transaction.queries.mark_delivered,
            {
                "old": old,
                "new": new,
                "delivered_at": time_text(self.now),
                "age_s": transaction.age_s,
                "sequences": json.dumps(list(self.sequences)),
            },
        ).rowcount
        ledger.pending -= changed
        ledger.delivered += changed
        ledger.delivered_total += changed
        if self.tombstone_ids:
            delete_tombstones(transaction, self.tombstone_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkDead:
    """Set one pending event aside, and leave a tombstone for the cloud."""

    failpoint: ClassVar[str] = "mark_dead"
    takes_space: ClassVar[bool] = False
    sequence: int
    reason: str

    def apply(self, transaction: Transaction) -> bool:
        """Return whether the event was pending; otherwise nothing changes."""
        old, new = step(EventState.PENDING, EventState.DEAD)
        changed = transaction.connection.execute(
            transaction.queries.mark_dead, {"old": old, "new": new, "sequence": self.sequence, "reason": self.reason}
        ).rowcount
        if changed:
            transaction.ledger.pending -= 1
            transaction.ledger.dead += 1
            what = transaction.connection.execute(
                transaction.queries.select_results_among, (json.dumps([self.sequence]),)
            )
            bury(transaction, self.sequence, self.sequence, self.reason, labels=label_counts(what))
        return bool(changed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeue:
    """Make dead letters pending again. Those that are not dead stay as they are."""

    failpoint: ClassVar[str] = "requeue"
    takes_space: ClassVar[bool] = False
    sequences: Sequence[int]

    def apply(self, transaction: Transaction) -> int:
        """Return how many became pending."""
        connection, queries, ledger = transaction.connection, transaction.queries, transaction.ledger
        wanted = json.dumps(list(self.sequences))
        dead = [sequence for (sequence,) in connection.execute(queries.select_dead_among, (wanted,))]
        if not dead:
            return 0
        old, new = step(EventState.DEAD, EventState.PENDING)
        connection.execute(queries.requeue, {"old": old, "new": new, "sequences": json.dumps(dead)})
        ledger.dead -= len(dead)
        ledger.pending += len(dead)
        exhume(transaction, dead)
        transaction.work_added = True
        return len(dead)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRefusal:
    """Keep one refusal; the oldest beyond the cap go."""

    failpoint: ClassVar[str] = "record_refusal"
    takes_space: ClassVar[bool] = True
    refusal: Refusal

    def apply(self, transaction: Transaction) -> None:
        """Store the refusal, whatever characters the device put into it."""
        refusal, ledger = self.refusal, transaction.ledger
        transaction.connection.execute(
            transaction.queries.insert_refusal,
            (
                _storable(refusal.device_id),
                refusal.transport,
                time_text(refusal.refused_at),
                refusal.reason,
                _storable(refusal.detail),
                refusal.payload_sha256,
                refusal.payload_bytes,
            ),
        )
        ledger.refusals += 1
        surplus = ledger.refusals - transaction.caps.refusals_max
        if surplus > 0:
            removed = transaction.connection.execute(transaction.queries.delete_oldest_refusals, (surplus,)).rowcount
            ledger.refusals -= removed


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCommand:
    """Keep one cloud-to-device message."""

    failpoint: ClassVar[str] = "store_command"
    takes_space: ClassVar[bool] = False  # it can't be asked for again
    command: Command

    def apply(self, transaction: Transaction) -> bool:
        """Return False if a message of that id is there already."""
        command = self.command
        properties = json.dumps(dict(command.properties), ensure_ascii=False)
        received_at = time_text(command.received_at)
        row: Row = (command.command_id, received_at, command.body, properties, transaction.age_s)
        return bool(transaction.connection.execute(transaction.queries.insert_command, row).rowcount)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleCommand:
    """What came of a cloud-to-device message. The first outcome stays."""

    failpoint: ClassVar[str] = "settle_command"
    takes_space: ClassVar[bool] = False
    command_id: str
    outcome: CommandState
    detail: str

    def apply(self, transaction: Transaction) -> None:
        """Note the outcome."""
        row: Row = (self.outcome, _storable(self.detail), self.command_id)
        transaction.connection.execute(transaction.queries.settle_command, row)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCrash:
    """Count a crash against each payload that was being worked on."""

    failpoint: ClassVar[str] = "record_crash"
    takes_space: ClassVar[bool] = False
    payload_hashes: Sequence[str]
    now: datetime

    def apply(self, transaction: Transaction) -> Mapping[str, int]:
        """Return the crashes of every suspect; the oldest suspects beyond a bound are forgotten."""
        connection, queries = transaction.connection, transaction.queries
        seen = (time_text(self.now), transaction.age_s)
        connection.executemany(queries.count_crash, [(sha256, *seen) for sha256 in self.payload_hashes])
        connection.execute(queries.forget_crash_suspects, (CRASH_SUSPECTS_MAX,))
        return dict(connection.execute(queries.select_crash_suspects).fetchall())


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    """One step of pruning."""

    failpoint: ClassVar[str] = "prune"
    takes_space: ClassVar[bool] = False
    keeping: Keeping
    now: datetime

    def apply(self, transaction: Transaction) -> int:
        """Return how many rows went; 0 means that nothing is left to do."""
        return prune(transaction, now=self.now, keeping=self.keeping)


def _storable(text: str) -> str:
    """Return ``text`` with what UTF-8 can't say (lone surrogates out of JSON escapes) replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
