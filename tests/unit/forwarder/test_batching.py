"""How much goes into one message, when it leaves, how fast and how many at once."""

import asyncio
import json
from dataclasses import replace

import pytest
import structlog

from gateway.cloud.envelope import message_bytes
from gateway.forwarding import backlog
from gateway.messages import ClockState, EventState
from tests.fakes.lossy_cloud import Weather
from tests.fakes.virtual_time import in_virtual_time
from tests.unit.forwarder.rig import Rig


@in_virtual_time
async def test_events_of_the_batching_time_share_a_message() -> None:
    rig = Rig(batch_wait_s=10)
    async with rig.running():
        await asyncio.sleep(1)
        for _ in range(3):
            await rig.commit()
            await asyncio.sleep(2)
        await rig.until_delivered(3)
    assert rig.batches == [(1, 2, 3)]


@in_virtual_time
async def test_first_event_waits_no_longer_than_the_batching_time() -> None:
    rig = Rig(batch_wait_s=10)
    async with rig.running():
        await asyncio.sleep(1)
        began_s = rig.clock.monotonic()
        await rig.commit()
        await rig.until_delivered(1)
        assert 10 <= rig.clock.monotonic() - began_s < 10.2


@in_virtual_time
async def test_full_batch_leaves_without_waiting() -> None:
    rig = Rig(batch_wait_s=3600, batch_bytes_max=2048, drain_batch_bytes_max=2048)
    async with rig.running():
        await asyncio.sleep(1)
        await rig.commit(20)
        await rig.until_delivered(15, within_s=2)
    assert all(message_bytes(arrival.message) <= 2048 for arrival in rig.cloud.received)


@in_virtual_time
async def test_each_message_fits_the_billed_block_whole_events_only() -> None:
    rig = Rig(batch_wait_s=0)
    await rig.commit(200)
    async with rig.running():
        await rig.until_delivered(200)
    sizes = [message_bytes(arrival.message) for arrival in rig.cloud.sent]
    assert max(sizes) <= 4096
    assert min(sizes[:-1]) > 3500


@in_virtual_time
async def test_backlog_leaves_in_larger_messages_by_setting() -> None:
    rig = Rig(batch_wait_s=3600, drain_batch_bytes_max=64 * 1024)
    await rig.commit(500)
    async with rig.running():
        await rig.until_delivered(490, within_s=5)
    assert len(rig.offered[0]) > 150
    assert all(message_bytes(arrival.message) <= 64 * 1024 for arrival in rig.cloud.received)


@in_virtual_time
async def test_what_waited_through_an_outage_does_not_wait_for_company() -> None:
    rig = Rig(batch_wait_s=3600)
    await rig.commit()
    async with rig.running():
        await rig.until_delivered(1, within_s=1)


@in_virtual_time
async def test_event_larger_than_a_batch_goes_alone() -> None:
    rig = Rig(batch_wait_s=0)
    await rig.commit(2)
    await rig.commit(text_bytes=10_000)
    await rig.commit(2)
    async with rig.running():
        await rig.until_delivered(5)
    assert rig.offered == [(1, 2), (3,), (4, 5)]


@in_virtual_time
async def test_event_beyond_the_cap_becomes_a_dead_letter_and_the_rest_goes_on() -> None:
    rig = Rig(batch_wait_s=0)
    await rig.commit()
    await rig.commit(text_bytes=250_000)
    await rig.commit()
    async with rig.running():
        await rig.until(lambda: rig.cloud.buried == {2})
        await rig.until_delivered(2)
    assert rig.outbox.events[2].dead_reason == "too_large"
    assert rig.cloud.sequences == {1, 3}


@in_virtual_time
async def test_oldest_goes_first() -> None:
    rig = Rig(batch_wait_s=0)
    await rig.commit(100)
    async with rig.running():
        await rig.until_delivered(100)
    assert [s for batch in rig.offered for s in batch] == list(range(1, 101))


@in_virtual_time
async def test_never_more_in_flight_than_the_window() -> None:
    rig = Rig(window=5, weather=Weather(latency_s=1), messages_per_s_max=1000)
    await rig.commit(400)
    async with rig.running():
        await rig.until_delivered(400)
    assert rig.cloud.in_flight_peak == 5


@in_virtual_time
async def test_acknowledgements_out_of_order_mark_each_its_own() -> None:
    rig = Rig(weather=Weather(latency_s=3), batch_bytes_max=1024, drain_batch_bytes_max=1024)
    await rig.commit(60)
    overtaken = False
    async with rig.running():
        while len(delivered := rig.in_state(EventState.DELIVERED)) < 60:
            assert delivered <= rig.cloud.sequences
            overtaken = overtaken or min(rig.in_state(EventState.PENDING)) < max(delivered, default=0)
            await asyncio.sleep(0.01)
    assert overtaken
    assert rig.cloud.sessions == 1


@in_virtual_time
async def test_message_rate_is_capped() -> None:
    rig = Rig(messages_per_s_max=10, batch_bytes_max=1024, drain_batch_bytes_max=1024)
    await rig.commit(400)
    async with rig.running():
        await rig.until_delivered(400)
    times = [arrival.at_s for arrival in rig.cloud.sent]
    for index, at_s in enumerate(times):
        assert sum(1 for later in times[index:] if later < at_s + 1) <= 21
    assert len(times) / (times[-1] - times[0]) < 12


@in_virtual_time
async def test_watermark_covers_the_items_and_never_goes_back() -> None:
    rig = Rig(batch_wait_s=0)
    async with rig.running():
        for _ in range(20):
            await rig.commit(5)
            await asyncio.sleep(0.05)
        await rig.until_delivered(100)
    highs = [arrival.body["sequence_high"] for arrival in rig.cloud.sent]
    assert highs == sorted(highs)
    assert all(max(arrival.sequences) <= arrival.body["sequence_high"] for arrival in rig.cloud.sent)


@in_virtual_time
async def test_tombstones_travel_with_events() -> None:
    rig = Rig(batch_wait_s=0)
    await rig.commit(3)
    await rig.outbox.mark_dead(2, "evicted")
    async with rig.running():
        await rig.until_delivered(2)
    assert len(rig.cloud.received) == 1
    assert rig.cloud.buried == {2}
    assert rig.outbox.tombstones == {}


@in_virtual_time
async def test_tombstones_travel_alone_when_nothing_else_waits() -> None:
    rig = Rig(batch_wait_s=0)
    await rig.commit(3)
    for sequence in (1, 2, 3):
        await rig.outbox.mark_dead(sequence, "evicted")
    async with rig.running():
        await rig.until(lambda: rig.cloud.buried == {1, 2, 3})
    assert rig.batches == [()]


@in_virtual_time
async def test_hundreds_of_tombstones_all_arrive_in_messages_that_fit() -> None:
    rig = Rig(batch_wait_s=0)
    await rig.commit(300)
    for sequence in range(1, 301, 2):
        await rig.outbox.mark_dead(sequence, f"reason_{sequence % 7}")
    async with rig.running():
        await rig.until_delivered(150)
        await rig.until(lambda: not rig.outbox.tombstones)
    assert rig.cloud.buried == set(range(1, 301, 2))
    assert all(message_bytes(arrival.message) <= 4096 for arrival in rig.cloud.received)


@in_virtual_time
async def test_tombstones_that_leave_no_room_for_an_event_go_alone() -> None:
    rig = Rig(batch_wait_s=0, batch_bytes_max=1024, drain_batch_bytes_max=1024)
    await rig.commit(41, text_bytes=200)
    for sequence in range(1, 41, 2):
        await rig.outbox.mark_dead(sequence, "evicted")
    async with rig.running():
        await rig.until_delivered(21)
        await rig.until(lambda: not rig.outbox.tombstones)
    assert all(message_bytes(arrival.message) <= 1024 for arrival in rig.cloud.received)


@in_virtual_time
async def test_requeued_event_is_sent_though_later_ones_were_read_before() -> None:
    rig = Rig(batch_wait_s=0)
    async with rig.running():
        await rig.commit(5)
        await rig.outbox.mark_dead(2, "evicted")
        await rig.until_delivered(4)
        await rig.outbox.requeue([2])
        await rig.until_delivered(5)
    assert 2 in rig.cloud.sequences


@in_virtual_time
async def test_every_body_is_an_object_with_the_gateways_id() -> None:
    rig = Rig(batch_wait_s=0)
    await rig.commit()
    async with rig.running():
        await rig.until_delivered(1)
    assert json.loads(rig.cloud.received[0].message.body)["gateway_id"] == "site-1"


@in_virtual_time
async def test_drained_backlog_is_one_line_in_the_log_whatever_its_length() -> None:
    rig = Rig()
    await rig.commit(300)
    with structlog.testing.capture_logs() as lines:
        async with rig.running():
            await rig.until_delivered(300)
    events = [line["event"] for line in lines if line["log_level"] != "debug"]
    assert events == ["cloud_connected", "cloud_backlog_drained"]
    assert lines[-1]["events"] == 300


@in_virtual_time
async def test_what_waits_to_fill_a_batch_is_told_anew_when_the_clock_is_set() -> None:
    rig = Rig(batch_wait_s=30)
    async with rig.running():
        await rig.commit(1)
        await rig.until_delivered(1)  # what a new session finds does not wait
        await rig.commit(2)
        await asyncio.sleep(5)
        rig.outbox.events = {s: replace(e, clock=ClockState.CORRECTED) for s, e in rig.outbox.events.items()}
        rig.forwarder.reread()
        await rig.until_delivered(3)
    bodies = [arrival.body for arrival in rig.cloud.received]
    assert [[item["clock"] for item in body["items"]] for body in bodies] == [["unsynced"], ["corrected", "corrected"]]


@in_virtual_time
async def test_reading_anew_before_the_first_run_does_nothing() -> None:
    Rig().forwarder.reread()


@in_virtual_time
async def test_while_the_window_is_full_what_it_needs_next_is_read_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backlog, "PAGE_EVENTS", 4)
    rig = Rig(window=2, send_timeout_s=300, drain_batch_bytes_max=20_000)
    async with rig.running():
        await rig.until(lambda: rig.cloud.sessions == 1)
        await asyncio.sleep(1)
        rig.cloud.weather = Weather(latency_s=10_000)
        await rig.commit(1000, text_bytes=3000)
        await rig.until(lambda: len(rig.cloud.sent) == 2)
        await asyncio.sleep(50)
        waiting = rig.forwarder._backlog.lanes_bytes
    assert 40_000 <= waiting <= 40_000 + backlog.PAGE_EVENTS * 3500
