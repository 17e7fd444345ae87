"""What waits in the outbox, read in pages and encoded, each row handed out once.

Owns the claims: a row read here is claimed until its answer is on disk or its
session is lost, so that no row is in two messages at once. Nothing of it
outlives the process: after a restart pending is simply read again.

A scan goes forward from the highest sequence read, then once more from the
start: a requeued event comes back under its old sequence.

Limits: what is held in memory is what was asked for and at most one page more.
"""

import math
from collections.abc import Callable, Collection, Iterable

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
from gateway.messages import Event, Tombstone
from gateway.ports import Clock, PendingQueue

PAGE_EVENTS = 128
# About 2 KB of a 4 KB block; more wait for the next message.
TOMBSTONES_PER_MESSAGE_MAX = 16


class Backlog:
    """Pending events and tombstones in the order read. ``header`` covers everything that was read."""

    header: Header

    def __init__(
        self, *, queue: PendingQueue, gateway_id: str, clock: Clock, on_unfit: Callable[[int, str], None]
    ) -> None:
        self._queue = queue
        self._gateway_id = gateway_id
        self._clock = clock
        self._on_unfit = on_unfit
        self.waiting: dict[int, EncodedEvent] = {}
        self.tombstones: dict[int, Tombstone] = {}
        self.waiting_since_s = -math.inf
        self.exhausted = False
        self._waiting_bytes = 0
        self._cursor = 0
        self._scan_began_at_start = True
        self._tombstones_stale = True
        self._is_first_fill = True
        self._claimed: set[int] = set()
        self._claimed_tombstones: set[int] = set()
        self._released_while_reading: set[int] = set()
        self._starts = 0

    @property
    def is_empty(self) -> bool:
        """Return whether nothing that was read waits to be sent."""
        return not self.waiting and not self.tombstones

    def look_again(self) -> None:
        """Note that the outbox may hold more than was read, anywhere."""
        self.exhausted = False
        self._scan_began_at_start = False
        self._tombstones_stale = True

    def start_over(self, lost: Iterable[Batch]) -> None:
        """Begin with the oldest again. What was answered stays claimed until the answer is on disk."""
        for batch in lost:
            self._claimed.difference_update(batch.sequences)
            self._claimed_tombstones.difference_update(batch.tombstone_ids)
        self._claimed.difference_update(self.waiting)
        self._claimed_tombstones.difference_update(self.tombstones)
        self.waiting.clear()
        self.tombstones.clear()
        self._waiting_bytes = self._cursor = 0
        self._is_first_fill = True
        self._starts += 1
        self.look_again()

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

    def take(self, events: Iterable[EncodedEvent], tombstones: Iterable[Tombstone]) -> None:
        """Hand these out: they stay claimed and wait no longer."""
        for event in events:
            del self.waiting[event.sequence]
            self._waiting_bytes -= len(event.item)
        for tombstone in tombstones:
            del self.tombstones[tombstone.tombstone_id]

    def put_back(self, batch: Batch) -> None:
        """Let a refused batch wait again, at the front."""
        self.waiting = {event.sequence: event for event in batch.events} | self.waiting
        self._waiting_bytes += sum(len(event.item) for event in batch.events)
        self.tombstones = {tombstone.tombstone_id: tombstone for tombstone in batch.tombstones} | self.tombstones

    async def fill(self, bytes_wanted: int, *, without: Collection[int]) -> None:
        """Return when events of ``bytes_wanted`` wait, not counting the sequences in ``without``, or all were read.

        Raises Unavailable when the outbox can't be read: then :meth:`look_again` later.
        """
        if self._tombstones_stale and len(self.tombstones) < TOMBSTONES_PER_MESSAGE_MAX:
            await self._read_tombstones()
        while not self.exhausted and self._bytes_besides(without) < bytes_wanted:
            await self._read_page()
        self._is_first_fill = False

    def _bytes_besides(self, without: Collection[int]) -> int:
        aside = sum(len(self.waiting[sequence].item) for sequence in without if sequence in self.waiting)
        return self._waiting_bytes - aside

    async def _read_page(self) -> None:
        if self._cursor == 0:
            self._scan_began_at_start = True
        self._released_while_reading.clear()
        starts = self._starts
        page = await self._queue.pending(after_sequence=self._cursor, limit=PAGE_EVENTS)
        if starts != self._starts:
            return  # started over meanwhile: this page is of the old reading
        if page:
            # After the page: the watermark must cover what is sent under it.
            await self._read_header()
            self._cursor = page[-1].key
        for event in page:
            if event.key not in self._claimed and event.key not in self._released_while_reading:
                self._claim(event)
        if len(page) < PAGE_EVENTS:
            self.exhausted = self._scan_began_at_start
            self._cursor = self._cursor if self.exhausted else 0

    async def _read_tombstones(self) -> None:
        self._tombstones_stale = False
        limit = TOMBSTONES_PER_MESSAGE_MAX + len(self._claimed_tombstones)
        page = await self._queue.pending_tombstones(limit=limit)
        if page:
            await self._read_header()
        for tombstone in page:
            if tombstone.tombstone_id not in self._claimed_tombstones:
                self._note_waiting()
                self._claimed_tombstones.add(tombstone.tombstone_id)
                self.tombstones[tombstone.tombstone_id] = tombstone
        self._tombstones_stale = self._tombstones_stale or len(page) == limit

    async def _read_header(self) -> None:
        self.header = Header(self._gateway_id, await self._queue.state())

    def _claim(self, event: Event) -> None:
        self._claimed.add(event.key)
        try:
            encoded = encode_event(event)
        except NotEncodable:
            self._on_unfit(event.key, "not_encodable")
            return
        if self._is_too_large(encoded):
            self._on_unfit(event.key, "too_large")
            return
        self._note_waiting()
        self.waiting[event.key] = encoded
        self._waiting_bytes += len(encoded.item)

    def _is_too_large(self, event: EncodedEvent) -> bool:
        if len(event.item) < MESSAGE_BYTES_MAX // 2:
            return False
        alone = build_message(self.header, (), (event,), created_at=self._clock.now())
        return message_bytes(alone) > MESSAGE_BYTES_MAX

    def _note_waiting(self) -> None:
        if self.is_empty:
            # What a new session finds has waited long enough already.
            self.waiting_since_s = -math.inf if self._is_first_fill else self._clock.monotonic()
