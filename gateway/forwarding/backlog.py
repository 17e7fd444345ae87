"""What waits in the outbox, read in pages and encoded, each row handed out once.

Owns the claims: a row read here is claimed until its answer is on disk or its
session is lost, so that no row is in two messages at once. Nothing of it
outlives the process: after a restart pending is simply read again.

What waits is read in lanes (forwarding/lanes.py), the one whose turn it is
first. What was lost with its session, or refused, comes before all lanes: it is
suspected, and suspicion is to end soon.

Limits: what is held in memory is what was asked for and at most one page more,
for each lane that had its turn: 20 at most, where all ten priorities are used.
While a window is full that is asked for which the next one needs (dispatch.py).
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from gateway.cloud.envelope import (
    MESSAGE_BYTES_MAX,
    EncodedEvent,
    Header,
    NotEncodable,
    build_message,
    encode_event,
    message_bytes,
)
from gateway.forwarding.batch import Batch
from gateway.forwarding.lanes import DrainOrder, Lane, LaneKey, Turns
from gateway.messages import PendingEvent, Tombstone
from gateway.ports import Clock, PendingQueue

PAGE_EVENTS = 128
# About 2 KB of a 4 KB block; more wait for the next message.
TOMBSTONES_PER_MESSAGE_MAX = 16


class Backlog:
    """Pending events and tombstones. ``header`` covers everything that was read."""

    header: Header

    def __init__(
        self,
        *,
        queue: PendingQueue,
        gateway_id: str,
        clock: Clock,
        on_unfit: Callable[[int, str], None],
        order: DrainOrder = DrainOrder.WEIGHTED,
    ) -> None:
        self._queue = queue
        self._gateway_id = gateway_id
        self._clock = clock
        self._on_unfit = on_unfit
        self._order = order
        self.waiting: dict[int, EncodedEvent] = {}
        self.tombstones: dict[int, Tombstone] = {}
        self.waiting_since_s = -math.inf
        self._turns = Turns(order)
        self._lanes: dict[LaneKey, Lane] = {}
        self._lane_of: dict[int, Lane] = {}
        self._returned: dict[int, None] = {}  # waiting too, before all lanes
        self._to_recall: set[int] = set()
        self._boundary: int | None = None  # what came in after it is live
        self._stale = True
        self._tombstones_stale = True
        self._is_first_fill = True
        self._claimed: set[int] = set()
        self._claimed_tombstones: set[int] = set()
        self._released_while_reading: set[int] = set()
        self._starts = 0
        self._high = ("", 0)  # epoch and sequence of the watermark

    @property
    def is_empty(self) -> bool:
        """Return whether nothing that was read waits to be sent."""
        return not self.waiting and not self.tombstones

    @property
    def exhausted(self) -> bool:
        """Return whether everything that the outbox holds was read."""
        return not self._stale and not self._to_recall and all(lane.exhausted for lane in self._lanes.values())

    @property
    def lanes_bytes(self) -> int:
        """Return the size of what waits in lanes."""
        return sum(lane.waiting_bytes for lane in self._lanes.values())

    def in_order(self) -> Iterator[int]:
        """Yield the sequences that wait, those whose turn it is first."""
        yield from self._returned
        for lane in self._turn(lambda lane: bool(lane.waiting)):
            yield from lane.waiting

    def look_again(self) -> None:
        """Note that the outbox may hold more than was read, anywhere."""
        self._stale = True
        self._tombstones_stale = True

    def look_for_tombstones(self) -> None:
        """Note that there may be tombstones of events that never became pending: nobody tells of them."""
        self._tombstones_stale = True

    def start_over(self, lost: Iterable[Batch]) -> None:
        """Read all anew, what was lost first. What was answered stays claimed until the answer is on disk."""
        self._to_recall.update(self._returned)
        for batch in lost:
            self._to_recall.update(batch.sequences)
            self._claimed.difference_update(batch.sequences)
            self._claimed_tombstones.difference_update(batch.tombstone_ids)
        self._claimed.difference_update(self.waiting)
        self._claimed_tombstones.difference_update(self.tombstones)
        for held in (self.waiting, self.tombstones, self._returned, self._lanes, self._lane_of):
            held.clear()
        self._boundary = None
        self._is_first_fill = True
        self._starts += 1
        self.look_again()

    def begin_drain(self) -> None:
        """Note that more waits than fits into a message: unless there is a backlog, what waits is one from now on."""
        if self._order is DrainOrder.OLDEST_FIRST or any(
            lane.may_give for key, lane in self._lanes.items() if not key.is_live
        ):
            return
        for sequence in self._lane_of:
            self._claimed.discard(sequence)
            del self.waiting[sequence]
        self._lanes.clear()
        self._lane_of.clear()
        self._boundary = None
        self._stale = True

    def release(self, sequences: Iterable[int], tombstone_ids: Iterable[int]) -> None:
        """Give up claims: the outbox itself now says what these rows are."""
        sequences = tuple(sequences)
        self._claimed.difference_update(sequences)
        # A page read from the disk before the mark may still show them as pending.
        self._released_while_reading.update(sequences)
        self._claimed_tombstones.difference_update(tombstone_ids)

    def hold(self, sequence: int) -> None:
        """Claim a row that has its answer, until that is on disk."""
        self._claimed.add(sequence)

    def take(self, events: Iterable[EncodedEvent], tombstones: Iterable[Tombstone]) -> str:
        """Hand these out in one message: they stay claimed and wait no longer. Return its ``Batch.lane``."""
        lanes: list[Lane | None] = []  # None: of what was returned
        for event in events:
            sequence = event.sequence
            del self.waiting[sequence]
            lane = self._lane_of.pop(sequence, None)
            if lane is None:
                self._returned.pop(sequence, None)
            else:
                lane.take(sequence)
            if not lanes or lane is not lanes[-1]:
                lanes.append(lane)
        for tombstone in tombstones:
            del self.tombstones[tombstone.tombstone_id]
        self._turns.served(lane.key for lane in lanes if lane is not None)
        return _name(lanes[0]) if lanes else ""

    def put_back(self, batch: Batch) -> None:
        """Let a refused batch wait again, at the front."""
        self.waiting.update((event.sequence, event) for event in batch.events)
        self._returned = dict.fromkeys(batch.sequences) | self._returned
        self.tombstones = {tombstone.tombstone_id: tombstone for tombstone in batch.tombstones} | self.tombstones

    async def read_ahead(self, bytes_wanted: int) -> bool:
        """Read one more page if less than ``bytes_wanted`` waits. Return whether there was one to read.

        What asks for more than a page is left to :meth:`fill`. Raises Unavailable as that does.
        """
        lane = None if self._stale or self._to_recall else self._to_read(bytes_wanted, ())
        if lane is None:
            return False
        await self._read_page(lane)
        return True

    async def fill(self, bytes_wanted: int, *, without: Collection[int]) -> None:
        """Return when events of ``bytes_wanted`` wait, not counting the sequences in ``without``, or all were read.

        They are of the lanes whose turn it is. Raises Unavailable when the outbox can't be read: then
        :meth:`look_again` later.
        """
        if self._tombstones_stale and len(self.tombstones) < TOMBSTONES_PER_MESSAGE_MAX:
            await self._read_tombstones()
        while True:
            if self._to_recall:
                await self._recall()
            if self._stale:
                await self._look()
            lane = self._to_read(bytes_wanted, without)
            if lane is None and not self._stale:
                break
            if lane is not None:
                await self._read_page(lane)
        self._is_first_fill = False

    def _turn(self, which: Callable[[Lane], bool]) -> list[Lane]:
        chosen = {key: lane for key, lane in self._lanes.items() if which(lane)}
        return [chosen[key] for key in self._turns.lanes(chosen)]

    def _to_read(self, bytes_wanted: int, without: Collection[int]) -> Lane | None:
        """Return the lane to read on, if what waits is not enough."""
        held = sum(len(self.waiting[sequence].item) for sequence in self._returned)
        held -= sum(len(self.waiting[sequence].item) for sequence in without if sequence in self.waiting)
        for lane in self._turn(lambda lane: lane.may_give):
            held += lane.waiting_bytes
            if held >= bytes_wanted:
                return None
            if not lane.exhausted:
                return lane
        return None

    async def _look(self) -> None:
        """Ask where something is pending, and set the boundary where there is none."""
        starts = self._starts
        self._stale = False
        if self._boundary is None:
            self._note_watermark()
            self._boundary = self.header.watermark.epoch.base + self.header.watermark.sequence_high
        for span in await self._queue.pending_spans():
            if starts != self._starts:
                return
            for lane in self._lanes_of(span.priority):
                lane.look_again(span.first_key, span.last_key)

    def _lanes_of(self, priority: int) -> tuple[Lane, ...]:
        old, live = LaneKey(priority, is_live=False), LaneKey(priority, is_live=True)
        if old not in self._lanes:
            assert self._boundary is not None
            up_to = None if self._order is DrainOrder.OLDEST_FIRST else self._boundary
            newest_first = self._order is DrainOrder.NEWEST_FIRST
            self._lanes[old] = Lane(key=old, above=0, up_to=up_to, newest_first=newest_first, exhausted=True)
            if up_to is not None:
                self._lanes[live] = Lane(key=live, above=up_to, up_to=None, newest_first=False, exhausted=True)
        return (self._lanes[old], self._lanes[live]) if live in self._lanes else (self._lanes[old],)

    async def _recall(self) -> None:
        """Read again what was lost with its session, as far as it is still pending."""
        starts, wanted = self._starts, sorted(self._to_recall)
        self._released_while_reading.clear()
        events = await self._queue.pending_among(wanted)
        if events:
            self._note_watermark((event.epoch, event.sequence) for event in events)
        if starts != self._starts:
            return
        self._to_recall.difference_update(wanted)
        for event in sorted(events, key=lambda event: (event.priority, event.key)):
            if self._may_claim(event.key) and self._claim(event, event.key) is not None:
                self._returned[event.key] = None

    async def _read_page(self, lane: Lane) -> None:
        starts = self._starts
        self._released_while_reading.clear()
        lane.begin_page()
        page = await self._queue.pending(
            priority=lane.key.priority,
            after_sequence=lane.after,
            before_sequence=lane.before,
            newest_first=lane.newest_first,
            limit=PAGE_EVENTS,
        )
        if page:
            # After the page: the watermark must cover what is sent under it.
            self._note_watermark((event.epoch, event.sequence) for event in page)
        if starts != self._starts:
            return  # started over meanwhile: this page is of the old reading
        for event in page:
            key = event.key
            encoded = self._claim(event, key) if self._may_claim(key) else None
            if encoded is not None:
                lane.add(key, len(encoded.item))
                self._lane_of[key] = lane
        lane.end_page(page[-1].key if page else None, is_full=len(page) == PAGE_EVENTS)

    async def _read_tombstones(self) -> None:
        self._tombstones_stale = False
        limit = TOMBSTONES_PER_MESSAGE_MAX + len(self._claimed_tombstones)
        page = await self._queue.pending_tombstones(limit=limit)
        if page:
            self._note_watermark((tombstone.epoch, tombstone.last_sequence) for tombstone in page)
        self._drop_replaced(page, is_all=len(page) < limit)
        for tombstone in page:
            if tombstone.tombstone_id not in self._claimed_tombstones:
                self._note_waiting()
                self._claimed_tombstones.add(tombstone.tombstone_id)
                self.tombstones[tombstone.tombstone_id] = tombstone
        self._tombstones_stale = self._tombstones_stale or len(page) == limit

    def _drop_replaced(self, page: Sequence[Tombstone], *, is_all: bool) -> None:
        """Forget waiting ones that a wider one has replaced since: the range would be told twice."""
        known = {tombstone.tombstone_id for tombstone in page}
        read_to = math.inf if is_all or not known else max(known)
        for tombstone_id in [t for t in self.tombstones if t <= read_to and t not in known]:
            del self.tombstones[tombstone_id]
            self._claimed_tombstones.discard(tombstone_id)

    def _note_watermark(self, seen: Iterable[tuple[str, int]] = ()) -> None:
        """Take what the outbox says of itself into the header. ``seen``: (epoch, sequence) of what was read from disk.

        The disk is a moment ahead of the figures in memory: the watermark covers what was seen, and never goes back.
        """
        known = self._queue.watermark()
        epoch = known.epoch.epoch
        high = self._high[1] if self._high[0] == epoch else 0
        high = max(high, known.sequence_high, *[sequence for of_epoch, sequence in seen if of_epoch == epoch])
        self._high = (epoch, high)
        self.header = Header(self._gateway_id, replace(known, sequence_high=high))

    def _may_claim(self, sequence: int) -> bool:
        return sequence not in self._claimed and sequence not in self._released_while_reading

    def _claim(self, event: PendingEvent, key: int) -> EncodedEvent | None:
        """Claim a row and let it wait; None where it can't be sent."""
        self._claimed.add(key)
        try:
            encoded = encode_event(event)
        except NotEncodable:
            self._on_unfit(key, "not_encodable")
            return None
        if len(encoded.item) >= MESSAGE_BYTES_MAX // 2 and self._is_too_large(encoded):
            self._on_unfit(key, "too_large")
            return None
        if not self.waiting:
            self._note_waiting()
        self.waiting[key] = encoded
        return encoded

    def _is_too_large(self, event: EncodedEvent) -> bool:
        alone = build_message(self.header, (), (event,), created_at=self._clock.now())
        return message_bytes(alone) > MESSAGE_BYTES_MAX

    def _note_waiting(self) -> None:
        if self.is_empty:
            # What a new session finds has waited long enough already.
            self.waiting_since_s = -math.inf if self._is_first_fill else self._clock.monotonic()


def _name(lane: Lane | None) -> str:
    if lane is None:
        return "again"
    return "live" if lane.key.is_live else "backlog"
