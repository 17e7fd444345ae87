"""Priorities and the order in which a backlog drains."""

import asyncio
from typing import Any

import pytest

from gateway.forwarding.lanes import OTHERS_EVERY, DrainOrder, Lane, LaneKey, Turns
from tests.fakes.lossy_cloud import LossyCloud, Weather
from tests.fakes.virtual_time import in_virtual_time
from tests.unit.forwarder.rig import Rig

# One message at a time, so that the order is what the forwarder chose.
ONE_BY_ONE: dict[str, Any] = {
    "window": 1,
    "batch_bytes_max": 1024,
    "drain_batch_bytes_max": 1024,
    "messages_per_s_max": 1000,
}
# Three of these fit into a message of 1 KB.
TEXT_BYTES = 60


def numbers(rig: Rig) -> list[int]:
    return [sequence for batch in rig.batches for sequence in batch]


async def drained(rig: Rig, *, news: int = 0) -> None:
    """Drain; when the first message has arrived, so many new events are committed."""
    async with rig.running():
        await rig.until(lambda: bool(rig.batches))
        await rig.commit(news, text_bytes=TEXT_BYTES)
        await rig.until_delivered(len(rig.outbox.events))


@in_virtual_time
async def test_the_most_urgent_go_first_and_each_priority_keeps_its_order() -> None:
    rig = Rig(**ONE_BY_ONE)
    for priority in (5, 9, 0, 5, 0, 9):
        await rig.commit(2, text_bytes=TEXT_BYTES, priority=priority)
    await drained(rig)
    first = {s: n for n, batch in enumerate(rig.batches) for s in batch}
    assert max(first[s] for s in (5, 6, 9, 10)) <= min(first[s] for s in (1, 2, 7, 8))
    assert max(first[s] for s in (1, 2, 7, 8)) <= min(first[s] for s in (3, 4, 11, 12))
    for own in ((5, 6, 9, 10), (1, 2, 7, 8), (3, 4, 11, 12)):
        assert [first[s] for s in own] == sorted(first[s] for s in own)


@in_virtual_time
async def test_a_flood_of_urgent_events_does_not_starve_the_others() -> None:
    rig = Rig(weather=Weather(latency_s=0.1), **ONE_BY_ONE)
    await rig.commit(12, text_bytes=TEXT_BYTES, priority=9)
    await rig.commit(12, text_bytes=TEXT_BYTES, priority=7)
    others = set(range(1, 25))

    async def flood() -> None:
        while True:
            await rig.commit(10, text_bytes=TEXT_BYTES, priority=0)
            await asyncio.sleep(0.1)

    async with rig.running():
        flooding = asyncio.create_task(flood())
        await rig.until(lambda: others <= rig.cloud.sequences)
        flooding.cancel()
    with_others = [n for n, batch in enumerate(rig.batches, 1) if others & set(batch)]
    assert all(n % OTHERS_EVERY == 0 for n in with_others), with_others
    assert min(n for n, batch in enumerate(rig.batches) if 13 in batch) < max(
        n for n, batch in enumerate(rig.batches) if 12 in batch
    ), "the two take turns"


@in_virtual_time
async def test_weighted_sends_every_second_message_of_what_came_in_since() -> None:
    rig = Rig(**ONE_BY_ONE)
    await rig.commit(60, text_bytes=TEXT_BYTES)
    await drained(rig, news=15)
    begin_new = [n for n, batch in enumerate(rig.batches) if any(s > 60 for s in batch)]
    assert begin_new == list(range(begin_new[0], begin_new[0] + 2 * len(begin_new), 2)), begin_new
    assert 1 <= begin_new[0] <= 2
    assert rig.meter.counts("gateway_cloud_messages_sent_total", lane="live") == len(begin_new)
    assert rig.meter.counts("gateway_cloud_messages_sent_total", lane="backlog") == len(rig.batches) - len(begin_new)
    for own in ([s for s in numbers(rig) if s <= 60], [s for s in numbers(rig) if s > 60]):
        assert own == sorted(own)


@in_virtual_time
async def test_live_event_waits_for_one_message_of_the_backlog_at_most() -> None:
    rig = Rig(**ONE_BY_ONE)
    await rig.commit(300, text_bytes=TEXT_BYTES)
    waited = []
    async with rig.running():
        for _ in range(10):
            await asyncio.sleep(0.07)
            before = len(rig.offered)
            await rig.commit(text_bytes=TEXT_BYTES)
            mine = len(rig.outbox.events)
            await rig.until(lambda mine=mine: mine in rig.cloud.sequences)  # type: ignore[misc]
            waited.append(next(n for n, batch in enumerate(rig.offered) if mine in batch) - before)
        assert len(rig.cloud.sequences) < 300
    assert max(waited) <= 1


@in_virtual_time
async def test_newest_first_sends_what_came_in_since_and_then_the_backlog_backwards() -> None:
    rig = Rig(drain_order="newest_first", **ONE_BY_ONE)
    await rig.commit(300, text_bytes=TEXT_BYTES)
    await drained(rig, news=15)
    news = [n for n, batch in enumerate(rig.batches) if any(s > 300 for s in batch)]
    assert news == list(range(news[0], news[0] + len(news)))
    assert 1 <= news[0] <= 2
    heads = [max(s for s in batch if s <= 300) for batch in rig.batches if any(s <= 300 for s in batch)]
    assert heads == sorted(heads, reverse=True)
    assert all(list(batch) == sorted(batch) for batch in rig.batches), "inside a message they stand in order"


@in_virtual_time
async def test_oldest_first_is_strict() -> None:
    rig = Rig(drain_order="oldest_first", **ONE_BY_ONE)
    await rig.commit(60, text_bytes=TEXT_BYTES)
    await drained(rig, news=15)
    assert numbers(rig) == sorted(numbers(rig))


@in_virtual_time
async def test_what_is_left_of_a_message_is_filled_from_the_next_lanes() -> None:
    rig = Rig(batch_bytes_max=4096, batch_wait_s=0)
    await rig.commit(2, priority=9)
    await rig.commit(2, priority=0)
    await drained(rig)
    assert rig.batches == [(1, 2, 3, 4)]


@in_virtual_time
async def test_a_burst_that_outgrows_the_link_becomes_a_backlog_that_news_overtake() -> None:
    rig = Rig(batch_wait_s=0, **ONE_BY_ONE)
    async with rig.running():
        await rig.commit()
        await rig.until_delivered(1)
        await rig.commit(300, text_bytes=TEXT_BYTES)
        await rig.until(lambda: len(rig.batches) > 4)
        await rig.commit(text_bytes=TEXT_BYTES)
        before = len(rig.offered)
        await rig.until(lambda: 302 in rig.cloud.sequences)
        assert len(rig.offered) - before <= 2
        await rig.until_delivered(302)


@pytest.mark.parametrize("order", list(DrainOrder))
@in_virtual_time
async def test_requeued_event_is_found_in_every_order(order: DrainOrder) -> None:
    rig = Rig(drain_order=order.value, batch_wait_s=0)
    await rig.commit(3)
    await rig.outbox.mark_dead(2, "evicted")
    async with rig.running():
        await rig.until_delivered(2)
        await rig.outbox.requeue([2])
        await rig.until_delivered(3)


@in_virtual_time
async def test_what_was_lost_comes_first_even_if_news_would() -> None:
    class DropsTheFirst(LossyCloud):
        def offered(self, arrival: object) -> None:
            if len(self.sent) == 1:
                self.kick()

    rig = Rig(cloud_class=DropsTheFirst, drain_order="newest_first", **ONE_BY_ONE)
    await rig.commit(30, text_bytes=TEXT_BYTES)
    async with rig.running():
        await rig.until(lambda: len(rig.offered) == 1)
        await rig.commit(30, text_bytes=TEXT_BYTES)
        await rig.until_delivered(60)
    assert rig.offered[1] == rig.offered[0], "suspicion is to end soon"
    assert rig.meter.counts("gateway_cloud_messages_sent_total", lane="again") == 1


def test_lane_that_nobody_touched_is_left_alone() -> None:
    lane = Lane(key=LaneKey(5, is_live=False), above=0, up_to=10, newest_first=False, exhausted=True)
    lane.look_again(11, 20)
    assert not lane.may_give
    lane.look_again(10, 20)
    assert lane.may_give


def test_longest_unserved_of_the_others_has_the_next_turn() -> None:
    turns = Turns(DrainOrder.WEIGHTED)
    lanes = [LaneKey(p, is_live=False) for p in (0, 4, 9)]
    heads = []
    for _ in range(4 * OTHERS_EVERY):
        head = turns.lanes(lanes)[0]
        turns.served(iter([head]))
        heads.append(head.priority)
    assert [head for head in heads if head] == [4, 9, 4, 9]
    assert heads[: OTHERS_EVERY - 1] == [0] * (OTHERS_EVERY - 1)
