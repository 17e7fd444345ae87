"""What waits, read in pages, each row handed out once."""

import asyncio
import math
from dataclasses import replace
from typing import Any

from gateway.forwarding.backlog import PAGE_EVENTS, Backlog
from gateway.forwarding.batch import Batch
from gateway.messages import (
    ClockState,
    CloudMessage,
    Kind,
    PendingEvent,
    Watermark,
)
from tests.fakes.outbox import SOME_TIME, MemoryOutbox, draft
from tests.fakes.virtual_time import VirtualClock, in_virtual_time


class Reader:
    """A backlog, its outbox and what was found unfit."""

    def __init__(self, outbox: MemoryOutbox | None = None) -> None:
        self.outbox = outbox or MemoryOutbox()
        self.unfit: dict[int, str] = {}
        self.backlog = Backlog(
            queue=self.outbox,
            gateway_id="site-1",
            clock=VirtualClock(asyncio.get_running_loop()),
            on_unfit=self.unfit.__setitem__,
        )

    async def commit(self, count: int) -> None:
        first = len(self.outbox.events)
        for number in range(first, first + count):
            await self.outbox.commit([draft(f"s-{number}")])
        self.backlog.look_again()

    async def fill(self, bytes_wanted: int = 10**9) -> list[int]:
        await self.backlog.fill(bytes_wanted, without=())
        return list(self.backlog.in_order())

    def take_all(self) -> Batch:
        events = tuple(self.backlog.waiting[sequence] for sequence in self.backlog.in_order())
        self.backlog.take(events, ())
        message = CloudMessage(message_id="m", body=b"", properties={}, created_at=SOME_TIME)
        return Batch(message=message, events=events, tombstones=())


@in_virtual_time
async def test_reads_no_more_than_asked_for_and_a_page() -> None:
    reader = Reader()
    await reader.commit(5 * PAGE_EVENTS)
    assert len(await reader.fill(bytes_wanted=1)) == PAGE_EVENTS
    assert len(await reader.fill()) == 5 * PAGE_EVENTS


@in_virtual_time
async def test_row_is_handed_out_once() -> None:
    reader = Reader()
    await reader.commit(3)
    await reader.fill()
    reader.take_all()
    reader.backlog.look_again()
    assert await reader.fill() == []


@in_virtual_time
async def test_lost_rows_wait_again_oldest_first() -> None:
    reader = Reader()
    await reader.commit(3)
    await reader.fill()
    lost = reader.take_all()
    await reader.commit(2)
    await reader.fill()
    reader.backlog.start_over([lost])
    assert await reader.fill() == [1, 2, 3, 4, 5]


@in_virtual_time
async def test_answered_rows_stay_claimed_when_a_session_is_lost() -> None:
    reader = Reader()
    await reader.commit(3)
    await reader.fill()
    reader.take_all()
    reader.backlog.start_over([])
    assert await reader.fill() == []


@in_virtual_time
async def test_requeued_row_is_found_below_the_highest_read() -> None:
    reader = Reader()
    await reader.commit(3 * PAGE_EVENTS)
    await reader.outbox.mark_dead(1, "evicted")
    await reader.fill()
    reader.take_all()
    await reader.outbox.requeue([1])
    reader.backlog.look_again()
    assert await reader.fill() == [1]


class OutboxOldPage(MemoryOutbox):
    """Its page was read from the disk before something else happened, and arrives after."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile = asyncio.Event()

    async def pending(self, **which: Any) -> tuple[PendingEvent, ...]:
        page = await super().pending(**which)
        await asyncio.sleep(1)
        return page


@in_virtual_time
async def test_row_marked_while_a_page_is_read_is_not_handed_out_again() -> None:
    reader = Reader(OutboxOldPage())
    await reader.commit(1)
    await reader.fill()
    reader.take_all()
    reader.backlog.look_again()
    reading = asyncio.create_task(reader.fill())
    await asyncio.sleep(1.5)
    await reader.outbox.mark_delivered([1], [])
    reader.backlog.release([1], [])
    assert await reading == []


@in_virtual_time
async def test_commit_while_a_page_is_read_is_not_missed() -> None:
    reader = Reader(OutboxOldPage())
    await reader.commit(1)
    reading = asyncio.create_task(reader.fill())
    await asyncio.sleep(0.5)
    await reader.commit(1)
    assert await reading == [1, 2]


@in_virtual_time
async def test_refused_batch_waits_at_the_front() -> None:
    reader = Reader()
    await reader.commit(2)
    await reader.fill()
    refused = reader.take_all()
    await reader.commit(1)
    await reader.fill()
    reader.backlog.put_back(refused)
    assert list(reader.backlog.in_order()) == [1, 2, 3]


@in_virtual_time
async def test_event_that_json_can_not_tell_is_unfit() -> None:
    reader = Reader()
    await reader.commit(2)
    # A damaged row: a classification whose text is none.
    reader.outbox.events[1] = replace(reader.outbox.events[1], kind=Kind.CLASSIFICATION)
    assert await reader.fill() == [2]
    assert reader.unfit == {1: "not_encodable"}


@in_virtual_time
async def test_what_is_found_at_first_has_waited_long_enough() -> None:
    reader = Reader()
    await reader.commit(1)
    await asyncio.sleep(5)
    await reader.fill()
    assert reader.backlog.waiting_since_s == -math.inf
    reader.take_all()
    await reader.commit(1)
    await reader.fill()
    assert reader.backlog.waiting_since_s == 5


@in_virtual_time
async def test_page_that_was_read_before_a_new_start_is_not_used() -> None:
    class Slow(MemoryOutbox):
        async def pending(self, **which: Any) -> tuple[PendingEvent, ...]:
            page = await super().pending(**which)
            await asyncio.sleep(1)
            return page

    reader = Reader(Slow())
    await reader.commit(3)
    filling = asyncio.create_task(reader.fill())
    await asyncio.sleep(0.5)
    reader.outbox.events = {s: replace(e, clock=ClockState.CORRECTED) for s, e in reader.outbox.events.items()}
    reader.backlog.start_over(())
    assert await filling == [1, 2, 3]
    assert all(b'"clock":"corrected"' in event.item for event in reader.backlog.waiting.values())


class OutboxBehindItsDisk(MemoryOutbox):
    """Its figures in memory are a moment behind what a reader finds on the disk."""

    behind = 0

    def watermark(self) -> Watermark:
        watermark = super().watermark()
        return replace(watermark, sequence_high=watermark.sequence_high - self.behind)


@in_virtual_time
async def test_watermark_covers_what_was_read_and_never_goes_back() -> None:
    outbox = OutboxBehindItsDisk()
    reader = Reader(outbox)
    await reader.commit(3)
    outbox.behind = 2
    assert await reader.fill() == [1, 2, 3]
    assert reader.backlog.header.watermark.sequence_high == 3
    await outbox.mark_dead(2, "too_large")  # read again for its tombstone
    outbox.behind = 3
    reader.backlog.look_again()
    await reader.fill()
    assert reader.backlog.tombstones
    assert reader.backlog.header.watermark.sequence_high == 3
