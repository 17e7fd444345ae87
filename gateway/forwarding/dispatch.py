"""What to send next: how much in one message, and when.

Ordinarily a message leaves when it is full or ``batch_wait_s`` after its first
event. What does not fit into one message is a backlog: it leaves without
waiting, in messages of ``drain_batch_bytes_max``, in the order of
forwarding/lanes.py. While the link is suspicious of some events,
:class:`Suspicion` chooses.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from operator import attrgetter

from gateway.cloud.envelope import EncodedEvent, build_message, count_that_fits, message_bytes
from gateway.errors import CloudError, Unavailable
from gateway.forwarding.backlog import TOMBSTONES_PER_MESSAGE_MAX, Backlog
from gateway.forwarding.batch import Batch
from gateway.forwarding.suspicion import Suspicion
from gateway.messages import Tombstone
from gateway.ports import Clock
from gateway.settings import CloudSettings

# While a batch fills, the outbox is read at most so often, not at each commit.
GLANCE_S = 0.1
# A window of 24 KB messages; enough that acknowledgements that come in a burst find their successors encoded.
READ_AHEAD_BYTES_MAX = 384 * 1024


class FreshSessionWanted(CloudError):
    """The next message is a trial and must be the first of its session."""

    def __init__(self) -> None:
        super().__init__("trial_of_a_suspect")


class Dispatch:
    """Builds messages out of the backlog. ``poke`` tells it that there may be more."""

    def __init__(self, *, backlog: Backlog, suspicion: Suspicion, settings: CloudSettings, clock: Clock) -> None:
        self._backlog = backlog
        self._suspicion = suspicion
        self._settings = settings
        self._clock = clock
        self._bytes_max = settings.batch_bytes_max
        self._drain_bytes_max = max(settings.batch_bytes_max, settings.drain_batch_bytes_max)
        self._tombstones_max = TOMBSTONES_PER_MESSAGE_MAX
        self._tombstones_apart = False
        self._work = asyncio.Event()
        self.drain_began_s: float | None = None

    def poke(self) -> None:
        """Note that something became pending."""
        self._backlog.look_again()
        self._work.set()

    def split(self, batch: Batch) -> bool:
        """Let a refused batch go again in smaller parts. Return False if it can't be smaller."""
        if len(batch.events) + len(batch.tombstones) == 1:
            return False
        if batch.events and batch.tombstones:
            self._tombstones_apart = True
        elif batch.events:
            self._suspicion.refused(batch.sequences)
        else:
            self._tombstones_max = max(1, len(batch.tombstones) // 2)
        self._backlog.put_back(batch)
        self._work.set()
        return True

    async def next_batch(self, *, is_session_fresh: bool) -> Batch:
        """Return what to send next, when it is time. Raises FreshSessionWanted."""
        while True:
            self._work.clear()
            await self._backlog.fill(self._bytes_max, without=self._suspicion.aside)
            if self._backlog.exhausted:
                self._suspicion.keep_only(self._backlog.waiting)
            if self._suspicion.is_cautious:
                batch = await self._cautious(is_session_fresh=is_session_fresh)
            else:
                batch = await self._ordinary()
            if batch is not None:
                return batch

    async def read_ahead(self, messages: int) -> bool:
        """Read towards so many messages of a backlog, a page at most. Return whether more may be read.

        For when nothing can be sent anyway: what is read and encoded then need not be when an acknowledgement comes.
        """
        if self.drain_began_s is None or self._suspicion.is_cautious:
            return False
        with contextlib.suppress(Unavailable):  # next_batch meets it again, and says so
            return await self._backlog.read_ahead(min(messages * self._drain_bytes_max, READ_AHEAD_BYTES_MAX))
        return False

    async def _cautious(self, *, is_session_fresh: bool) -> Batch | None:
        backlog, suspicion = self._backlog, self._suspicion
        group = suspicion.next_group(backlog.in_order())
        nothing_else = not group and not backlog.tombstones
        trial = suspicion.next_trial(backlog.waiting, nothing_else=nothing_else)
        if trial is not None and not is_session_fresh:
            raise FreshSessionWanted
        if trial is not None:
            return self._build((backlog.waiting[trial],), ())
        if group:
            events = [backlog.waiting[sequence] for sequence in group]
            return self._build(self._fitting(events, (), self._drain_bytes_max), ())
        if backlog.tombstones:
            return self._build((), self._fitting_tombstones(self._drain_bytes_max))
        await self._wait_for_work()
        return None

    async def _ordinary(self) -> Batch | None:
        if self._backlog.is_empty:
            await self._wait_for_work()
            return None
        if self._backlog.lanes_bytes > self._bytes_max:
            return await self._drain()  # their items alone are more than fits: no need to look closer
        events, tombstones = self._choose(self._bytes_max)
        if len(events) < len(self._backlog.waiting):
            return await self._drain()
        patience_s = self._backlog.waiting_since_s + self._settings.batch_wait_s - self._clock.monotonic()
        if patience_s <= 0:
            return self._build(events, tombstones)
        await self._wait_for_more(patience_s)
        return None

    async def _drain(self) -> Batch:
        if self.drain_began_s is None:
            self.drain_began_s = self._clock.monotonic()
        self._backlog.begin_drain()
        await self._backlog.fill(self._drain_bytes_max, without=())
        return self._build(*self._choose(self._drain_bytes_max))

    async def _wait_for_work(self) -> None:
        """Return when something became pending, or when it is time to tell the gaps that policies left."""
        try:
            async with asyncio.timeout(self._settings.tombstone_wait_s):
                await self._work.wait()
        except TimeoutError:
            self._backlog.look_for_tombstones()

    async def _wait_for_more(self, patience_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._work.wait()
                await asyncio.sleep(GLANCE_S)

    def _choose(self, bytes_max: int) -> tuple[Sequence[EncodedEvent], Sequence[Tombstone]]:
        """Return events and tombstones for one message; tombstones alone where they leave no room for an event."""
        backlog = self._backlog
        tombstones = self._fitting_tombstones(bytes_max)
        if tombstones and self._tombstones_apart:
            return (), tombstones
        events = [backlog.waiting[sequence] for sequence in self._suspicion.next_group(self._within(bytes_max))]
        if tombstones and events and self._size(events[:1], tombstones) > bytes_max:
            return (), tombstones
        return self._fitting(events, tombstones, bytes_max), tombstones

    def _within(self, bytes_max: int) -> Iterator[int]:
        """Yield what waits, in order, until it is more than fits."""
        for sequence in self._backlog.in_order():
            yield sequence
            bytes_max -= len(self._backlog.waiting[sequence].item)
            if bytes_max < 0:
                return

    def _fitting(
        self, events: Sequence[EncodedEvent], tombstones: Sequence[Tombstone], bytes_max: int
    ) -> Sequence[EncodedEvent]:
        return events[: count_that_fits(self._backlog.header, tombstones, events, bytes_max=bytes_max)]

    def _fitting_tombstones(self, bytes_max: int) -> Sequence[Tombstone]:
        tombstones = tuple(self._backlog.tombstones.values())[: self._tombstones_max]
        while len(tombstones) > 1 and self._size((), tombstones) > bytes_max:
            tombstones = tombstones[:-1]
        return tombstones

    def _size(self, events: Sequence[EncodedEvent], tombstones: Sequence[Tombstone]) -> int:
        message = build_message(self._backlog.header, tombstones, events, created_at=self._clock.now())
        return message_bytes(message)

    def _build(self, events: Sequence[EncodedEvent], tombstones: Sequence[Tombstone]) -> Batch:
        lane = self._backlog.take(events, tombstones)
        # Whatever their turn: a reader of one message finds its items as they came in.
        events = sorted(events, key=attrgetter("sequence"))
        message = build_message(self._backlog.header, tombstones, events, created_at=self._clock.now())
        return Batch(message=message, events=tuple(events), tombstones=tuple(tombstones), lane=lane)
