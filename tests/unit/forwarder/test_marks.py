"""Answers on their way to the disk."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.errors import DiskUnavailable, IntakeFull
from gateway.messages import EventState, PendingEvent
from tests.fakes.lossy_cloud import Fate, Weather
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.virtual_time import in_virtual_time
from tests.unit.forwarder.rig import Rig


class SlowOutbox(MemoryOutbox):
    """A card whose sync takes half a second."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[tuple[int, ...]] = []

    async def mark_delivered(self, sequences: Sequence[int], tombstone_ids: Sequence[int]) -> None:
        self.marks.append(tuple(sequences))
        await asyncio.sleep(0.5)
        await super().mark_delivered(sequences, tombstone_ids)


def slow_rig(**settings: Any) -> tuple[Rig, SlowOutbox]:
    rig = Rig(**settings)
    outbox = rig.outbox = SlowOutbox()
    rig.forwarder = rig.new_forwarder()
    return rig, outbox


@in_virtual_time
async def test_one_mark_carries_several_messages_when_the_disk_is_slow() -> None:
    rig, outbox = slow_rig(messages_per_s_max=1000)
    await rig.commit(300)
    async with rig.running():
        await rig.until_delivered(300)
    assert len(outbox.marks) < len(rig.batches) / 5


@in_virtual_time
async def test_one_mark_carries_what_comes_in_a_moment_on_a_fast_disk() -> None:
    marks: list[tuple[int, ...]] = []

    class Watched(MemoryOutbox):
        async def mark_delivered(self, sequences: Sequence[int], tombstone_ids: Sequence[int]) -> None:
            marks.append(tuple(sequences))
            await super().mark_delivered(sequences, tombstone_ids)

    rig = Rig(messages_per_s_max=200, weather=Weather(latency_s=0.05))
    rig.outbox = Watched()
    rig.forwarder = rig.new_forwarder()
    await rig.commit(300, text_bytes=3000)
    async with rig.running():
        await rig.until_delivered(300)
    assert len(marks) < len(rig.batches) / 5


@in_virtual_time
async def test_what_was_acknowledged_is_marked_when_the_forwarder_is_stopped() -> None:
    rig = Rig(batch_wait_s=0)
    await rig.commit()
    async with rig.running():
        await rig.until(lambda: bool(rig.meter.counts("gateway_cloud_messages_total", outcome="acknowledged")))
        assert not rig.in_state(EventState.DELIVERED)
    assert rig.in_state(EventState.DELIVERED) == {1}


@in_virtual_time
async def test_row_whose_mark_is_under_way_is_not_sent_again() -> None:
    rig, _ = slow_rig(batch_wait_s=0)
    async with rig.running():
        for _ in range(20):
            await rig.commit()
            await asyncio.sleep(0.1)
        rig.cloud.kick()
        await rig.until_delivered(20)
    sent = [s for batch in rig.offered for s in batch]
    assert sent == sorted(set(sent))


@in_virtual_time
async def test_failing_disk_keeps_the_marks_and_sends_nothing_twice() -> None:
    rig = Rig(batch_wait_s=0)
    async with rig.running():
        await rig.commit(3)
        rig.outbox.disk_fails = True
        await rig.until(lambda: rig.cloud.sequences == {1, 2, 3})
        await asyncio.sleep(200)
        assert rig.in_state(EventState.PENDING) == {1, 2, 3}
        rig.outbox.disk_fails = False
        await rig.until_delivered(3, within_s=31)
    assert len(rig.offered) == 1


@in_virtual_time
async def test_failing_disk_does_not_stop_other_events_from_being_sent() -> None:
    rig = Rig(batch_wait_s=0)
    async with rig.running():
        await rig.commit(1)
        await rig.until_delivered(1)
        await rig.commit(500)
        rig.outbox.disk_fails = True
        await rig.until(lambda: len(rig.cloud.sequences) == 501)
        rig.outbox.disk_fails = False
        await rig.until_delivered(501, within_s=31)


@in_virtual_time
async def test_sending_pauses_when_too_many_marks_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.forwarding.marks.UNMARKED_MAX", 50)
    rig = Rig(batch_wait_s=0)
    await rig.commit(500)
    rig.outbox.disk_fails = True
    async with rig.running():
        await asyncio.sleep(60)
        assert 50 <= len(rig.cloud.sequences) < 250
        rig.outbox.disk_fails = False
        await rig.until_delivered(500)


@in_virtual_time
async def test_failing_disk_keeps_the_verdict_on_a_refused_event() -> None:
    rig = Rig(batch_wait_s=0)
    rig.cloud.poison = {1: Fate.REFUSE}
    await rig.commit()
    rig.outbox.disk_fails = True
    async with rig.running():
        await asyncio.sleep(100)
        assert rig.in_state(EventState.PENDING) == {1}
        rig.outbox.disk_fails = False
        await rig.until(lambda: rig.in_state(EventState.DEAD) == {1}, within_s=31)
    assert rig.offered == [(1,), ()]


class CrowdedOutbox(MemoryOutbox):
    """Too many wait for the disk; then fewer."""

    crowded = True

    async def mark_delivered(self, sequences: Sequence[int], tombstone_ids: Sequence[int]) -> None:
        if self.crowded:
            raise IntakeFull("1024 requests wait for the disk")
        await super().mark_delivered(sequences, tombstone_ids)

    async def pending(self, **which: Any) -> tuple[PendingEvent, ...]:
        if self.crowded and which["after_sequence"] > 0:
            raise DiskUnavailable("not now")
        return await super().pending(**which)


@in_virtual_time
async def test_crowded_or_unreadable_outbox_is_waited_out_in_the_same_session() -> None:
    rig = Rig(batch_wait_s=0)
    outbox = rig.outbox = CrowdedOutbox()
    rig.forwarder = rig.new_forwarder()
    await rig.commit(3)
    async with rig.running():
        await asyncio.sleep(10)
        await rig.commit(3)
        await asyncio.sleep(60)
        outbox.crowded = False
        await rig.until_delivered(6, within_s=40)
    assert rig.cloud.sessions == 1
    assert sorted(s for batch in rig.offered for s in batch) == [1, 2, 3, 4, 5, 6]


class BrokenOutbox(MemoryOutbox):
    async def mark_delivered(self, sequences: Sequence[int], tombstone_ids: Sequence[int]) -> None:
        raise ZeroDivisionError


@in_virtual_time
async def test_unknown_error_of_the_outbox_ends_the_forwarder() -> None:
    rig = Rig(batch_wait_s=0)
    rig.outbox = BrokenOutbox()
    await rig.commit()
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(rig.new_forwarder().run(), 60)


class SlowToBury(MemoryOutbox):
    async def mark_dead(self, sequence: int, reason: str) -> None:
        await asyncio.sleep(100)
        await super().mark_dead(sequence, reason)


@in_virtual_time
async def test_condemned_event_is_not_sent_again_while_its_mark_is_under_way() -> None:
    rig = Rig()
    rig.outbox = SlowToBury()
    rig.forwarder = rig.new_forwarder()
    rig.cloud.poison = {1: Fate.DROP}
    await rig.commit(400)
    async with rig.running():
        await asyncio.sleep(0.1)
        await rig.until(lambda: bool(rig.forwarder._marks._dead))
        tries = rig.offered.count((1,))
        await rig.commit(100)
        await rig.until(lambda: rig.in_state(EventState.DEAD) == {1})
    assert rig.offered.count((1,)) == tries
