"""An outbox in memory with the behaviour of the real one; the contract suite runs on both.

Beyond the ports it has switches for faults: ``disk_fails`` (every write raises
DiskUnavailable and stores nothing) and ``rows_max`` (OutboxFull).
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from gateway.errors import DiskUnavailable, OutboxFull, SubmissionIdReused
from gateway.messages import (
    PRIORITY_DEFAULT,
    Classification,
    ClockState,
    Command,
    CommittedItem,
    Delivery,
    Epoch,
    Event,
    EventDraft,
    EventState,
    IdReuse,
    Kind,
    OnChange,
    OutboxState,
    PendingEvent,
    PendingSpan,
    Reading,
    Receipt,
    Refusal,
    Result,
    Summarise,
    Tombstone,
    Transport,
    Watermark,
)
from gateway.result_text import result_text

# Reasons that coalesce with each other.
BY_POLICY = {"filtered", "summarised", "mixed"}


class MemoryOutbox:
    """EventStore, PendingQueue, CommitSignal, CommandStore and EventReader, without a disk."""

    def __init__(
        self,
        *,
        epoch: str = "0190b6f0-0000-7000-8000-000000000001",
        rows_max: int = 1_000_000,
        refusals_max: int = 1000,
    ) -> None:
        self.events: dict[int, Event] = {}
        self.refusals: list[Refusal] = []
        self.commands: dict[str, Command] = {}
        self.tombstones: dict[int, Tombstone] = {}  # undelivered
        self.delivered_tombstones: list[Tombstone] = []
        self.disk_fails = False
        self.drafts: list[EventDraft] = []  # as they came
        self.rows_max = rows_max
        self.refusals_max = refusals_max
        self._epoch = Epoch(epoch=epoch, predecessor=None, predecessor_last_sequence=None)
        self._sequence_high = 0
        self._tombstone_high = 0
        self._work = asyncio.Event()
        self._crashes: dict[str, int] = {}
        self._deliveries: dict[str, tuple[str, str, str]] = {}
        self._held_back: Counter[EventState] = Counter()

    # --- EventStore -----------------------------------------------------------------------------------

    async def recall(self, device_id: str, submission_id: str, payload_sha256: str) -> Receipt | None:
        first = [e for e in self._same_id(device_id, submission_id) if e.payload_sha256 == payload_sha256]
        return _receipt(first, duplicate=True) if first else None

    async def recall_delivery(self, delivery_key: str, payload_sha256: str) -> Receipt | None:
        device_id, submission_id, last_sha256 = self._deliveries.get(delivery_key, ("", "", ""))
        return await self.recall(device_id, submission_id, payload_sha256) if last_sha256 == payload_sha256 else None

    async def commit(self, drafts: Sequence[EventDraft]) -> Receipt:
        self._check_disk()
        head = drafts[0]
        if head.delivery is not None and head.delivery.repeated:
            repeated = await self.recall_delivery(head.delivery.key, head.payload_sha256)
            if repeated is not None:
                return repeated
        first = await self.recall(head.device_id, head.submission_id, head.payload_sha256)
        if first is not None:
            return first
        reused = any(True for _ in self._same_id(head.device_id, head.submission_id))
        if reused and head.on_id_reuse is IdReuse.REJECT:
            raise SubmissionIdReused(f"device {head.device_id} used id {head.submission_id} before for other bytes")
        if len(self.events) + len(drafts) > self.rows_max:
            raise OutboxFull(f"the outbox holds {len(self.events)} events of {self.rows_max}")
        self.drafts += drafts
        stored = [self._store(draft, id_reused=reused) for draft in drafts]
        if head.delivery is not None:
            self._deliveries[head.delivery.key] = (head.device_id, head.submission_id, head.payload_sha256)
        if any(event.state is EventState.PENDING for event in stored):
            self._work.set()  # what is held back wakes nobody
        return _receipt(stored, duplicate=False)

    async def record_refusal(self, refusal: Refusal) -> None:
        self._check_disk()
        self.refusals.append(refusal)
        del self.refusals[: max(0, len(self.refusals) - self.refusals_max)]

    # --- PendingQueue ---------------------------------------------------------------------------------

    async def pending_spans(self) -> tuple[PendingSpan, ...]:
        by_priority: dict[int, list[int]] = {}
        for sequence, event in sorted(self.events.items()):
            if event.state is EventState.PENDING:
                by_priority.setdefault(event.priority, []).append(sequence)
        return tuple(
            PendingSpan(priority=priority, first_key=found[0], last_key=found[-1])
            for priority, found in sorted(by_priority.items())
        )

    async def pending(
        self,
        *,
        limit: int,
        priority: int = PRIORITY_DEFAULT,
        after_sequence: int = 0,
        before_sequence: int | None = None,
        newest_first: bool = False,
    ) -> tuple[PendingEvent, ...]:
        before = float("inf") if before_sequence is None else before_sequence
        found = (
            e
            for s, e in sorted(self.events.items(), reverse=newest_first)
            if after_sequence < s < before and e.state is EventState.PENDING and e.priority == priority
        )
        return tuple(map(as_pending, tuple(found)[:limit]))

    async def pending_among(self, sequences: Sequence[int]) -> tuple[PendingEvent, ...]:
        found = (self.events[s] for s in sorted(sequences) if s in self.events)
        return tuple(as_pending(e) for e in found if e.state is EventState.PENDING)

    async def pending_tombstones(self, *, limit: int) -> tuple[Tombstone, ...]:
        return tuple(t for _, t in sorted(self.tombstones.items()))[:limit]

    async def mark_delivered(self, sequences: Sequence[int], tombstone_ids: Sequence[int]) -> None:
        self._check_disk()
        for sequence in sequences:
            self._move(sequence, EventState.PENDING, EventState.DELIVERED)
        for tombstone_id in tombstone_ids:
            tombstone = self.tombstones.pop(tombstone_id, None)
            if tombstone is not None:
                self.delivered_tombstones.append(tombstone)

    async def mark_dead(self, sequence: int, reason: str) -> None:
        self._check_disk()
        if self._move(sequence, EventState.PENDING, EventState.DEAD, dead_reason=reason):
            self._bury(sequence, sequence, reason, _label(self.events[sequence]))
            self._work.set()

    def watermark(self) -> Watermark:
        return Watermark(epoch=self._epoch, sequence_high=self._sequence_high)

    async def state(self) -> OutboxState:
        by_state = {state: [e for e in self.events.values() if e.state is state] for state in EventState}
        oldest = min(by_state[EventState.PENDING], key=lambda e: e.sequence, default=None)
        return OutboxState(
            epoch=self._epoch,
            sequence_high=self._sequence_high,
            pending=len(by_state[EventState.PENDING]),
            delivered=len(by_state[EventState.DELIVERED]),
            dead=len(by_state[EventState.DEAD]),
            refusals=len(self.refusals),
            tombstones_pending=len(self.tombstones),
            bytes_used=1024 * len(self.events),
            oldest_pending_received_at=oldest.received_at if oldest else None,
            held_back=len(by_state[EventState.FILTERED]) + len(by_state[EventState.SUMMARISED]),
            delivered_total=len(by_state[EventState.DELIVERED]),
            filtered_total=self._held_back[EventState.FILTERED],
            summarised_total=self._held_back[EventState.SUMMARISED],
        )

    # --- CommitSignal, EventReader, CommandStore ------------------------------------------------------

    async def wait_for_work(self) -> None:
        await self._work.wait()
        self._work.clear()

    async def find_event(self, device_id: str, item_id: str) -> Event | None:
        found = [e for e in self.events.values() if e.device_id == device_id and e.item_id == item_id]
        return max(found, key=lambda e: e.sequence, default=None)

    async def store_command(self, command: Command) -> bool:
        self._check_disk()
        return self.commands.setdefault(command.command_id, command) is command

    # --- beyond the ports, as the real one has them ---------------------------------------------------

    async def requeue(self, sequences: Sequence[int] | None = None) -> int:
        self._check_disk()
        wanted = list(self.events) if sequences is None else sequences
        moved = [s for s in wanted if self._move(s, EventState.DEAD, EventState.PENDING, dead_reason=None)]
        for sequence in moved:
            self._exhume(sequence)
        if moved:
            self._work.set()
        return len(moved)

    async def record_crash(self, payload_hashes: Sequence[str]) -> None:
        self._check_disk()
        for payload_sha256 in payload_hashes:
            self._crashes[payload_sha256] = self._crashes.get(payload_sha256, 0) + 1

    def is_poison(self, payload_sha256: str) -> bool:
        return self._crashes.get(payload_sha256, 0) >= 2

    # --- inside ---------------------------------------------------------------------------------------

    def _check_disk(self) -> None:
        if self.disk_fails:
            raise DiskUnavailable("the disk fails (fake)")

    def _same_id(self, device_id: str, submission_id: str) -> Iterator[Event]:
        events = (e for _, e in sorted(self.events.items()))
        return (e for e in events if (e.device_id, e.submission_id) == (device_id, submission_id))

    def _store(self, draft: EventDraft, *, id_reused: bool) -> Event:
        self._sequence_high += 1
        event = Event(
            epoch=self._epoch.epoch,
            sequence=self._sequence_high,
            submission_id=draft.submission_id,
            item=draft.item,
            device_id=draft.device_id,
            transport=draft.transport,
            kind=Kind.READING if isinstance(draft.result, Reading) else Kind.CLASSIFICATION,
            state=draft.fate,
            priority=draft.priority,
            received_at=draft.received_at,
            captured_at=draft.captured_at,
            payload_sha256=draft.payload_sha256,
            payload_bytes=draft.payload_bytes,
            id_reused=id_reused,
            result=draft.result,
            clock=draft.clock,
        )
        self.events[event.sequence] = event
        if draft.fate is not EventState.PENDING:
            self._held_back[draft.fate] += 1
            self._bury(event.sequence, event.sequence, draft.fate, _label(event))
        return event

    def _move(self, sequence: int, old: EventState, new: EventState, *, dead_reason: str | None = None) -> bool:
        event = self.events.get(sequence)
        if event is None or event.state is not old:
            return False
        self.events[sequence] = replace(event, state=new, dead_reason=dead_reason)
        return True

    def _bury(self, first: int, last: int, reason: str, labels: Mapping[str, int]) -> None:
        reasons, counted = Counter({reason: last - first + 1}), Counter(labels)
        for old in list(self.tombstones.values()):
            joins = old.reason == reason or {old.reason, reason} <= BY_POLICY
            if joins and (old.last_sequence == first - 1 or old.first_sequence == last + 1):
                first, last = min(first, old.first_sequence), max(last, old.last_sequence)
                reasons += Counter(old.reason_counts)
                counted += Counter(old.labels)
                del self.tombstones[old.tombstone_id]
        self._add_tombstone(first, last, reasons, counted)

    def _exhume(self, sequence: int) -> None:
        for old in list(self.tombstones.values()):
            if old.first_sequence <= sequence <= old.last_sequence:
                del self.tombstones[old.tombstone_id]
                for first, last in ((old.first_sequence, sequence - 1), (sequence + 1, old.last_sequence)):
                    labels = sum((_label(self.events[s]) for s in range(first, last + 1)), Counter[str]())
                    self._add_tombstone(first, last, Counter({old.reason: last - first + 1}), labels)

    def _add_tombstone(self, first: int, last: int, reasons: Counter[str], labels: Counter[str]) -> None:
        if first > last:
            return
        self._tombstone_high += 1  # always a new id: an acknowledgement of the old one says nothing on a wider range
        is_mixed = len(reasons) > 1
        self.tombstones[self._tombstone_high] = Tombstone(
            tombstone_id=self._tombstone_high,
            epoch=self._epoch.epoch,
            first_sequence=first,
            last_sequence=last,
            reason="mixed" if is_mixed else next(iter(reasons)),
            reasons=dict(reasons) if is_mixed else {},
            labels=dict(labels),
        )


def _label(event: Event) -> Counter[str]:
    label = event.result.top_label if isinstance(event.result, Classification) else None
    return Counter() if label is None else Counter({label: 1})


def as_pending(event: Event) -> PendingEvent:
    """Return what the forwarder gets of an event."""
    return PendingEvent(
        epoch=event.epoch,
        base=event.base,
        sequence=event.sequence,
        item_id=event.item_id,
        device_id=event.device_id,
        transport=event.transport,
        kind=event.kind,
        received_at=event.received_at,
        captured_at=event.captured_at,
        payload_sha256=event.payload_sha256,
        id_reused=event.id_reused,
        result_json=result_text(event.result),
        priority=event.priority,
        clock=event.clock,
        received_after=event.received_after,
        received_before=event.received_before,
    )


def _receipt(events: Sequence[Event], *, duplicate: bool) -> Receipt:
    return Receipt(
        submission_id=events[0].submission_id,
        device_id=events[0].device_id,
        duplicate=duplicate,
        items=tuple(
            CommittedItem(
                epoch=e.epoch,
                sequence=e.sequence,
                item_id=e.item_id,
                received_at=e.received_at,
                id_reused=e.id_reused,
                result=e.result,
                clock=e.clock,
            )
            for e in events
        ),
    )


SOME_TIME = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def draft(  # every field with a default: tests name what they are about
    submission_id: str = "a-1",
    *,
    device_id: str = "device-1",
    payload_sha256: str = "00" * 32,
    item: int | None = None,
    values_json: str = '{"temperature":21.5}',
    on_id_reuse: IdReuse = IdReuse.NEW_EVENT,
    received_at: datetime = SOME_TIME,
    delivery: Delivery | None = None,
    boottime_s: float | None = None,
    clock: ClockState = ClockState.UNSYNCED,
    priority: int = PRIORITY_DEFAULT,
    ttl_s: float | None = None,
    fate: EventState = EventState.PENDING,
    result: Result | None = None,
    on_change: OnChange | None = None,
    summarise: Summarise | None = None,
) -> EventDraft:
    """Return a draft, of a reading unless ``result`` says otherwise."""

    return EventDraft(
        submission_id=submission_id,
        item=item,
        device_id=device_id,
        transport=Transport.HTTP,
        received_at=received_at,
        captured_at=None,
        payload_sha256=payload_sha256,
        payload_bytes=len(values_json),
        result=result or Reading(values_json=values_json),
        on_id_reuse=on_id_reuse,
        delivery=delivery,
        boottime_s=boottime_s,
        clock=clock,
        priority=priority,
        ttl_s=ttl_s,
        fate=fate,
        on_change=on_change,
        summarise=summarise,
    )
