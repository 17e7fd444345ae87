"""Sessions: when they begin and end, and how long the forwarder waits between them."""

import asyncio

from gateway.forwarding.status import UplinkState
from gateway.messages import EventState
from tests.fakes.lossy_cloud import Weather
from tests.fakes.virtual_time import in_virtual_time
from tests.unit.forwarder.rig import QUICK, Rig


@in_virtual_time
async def test_committed_event_is_delivered() -> None:
    rig = Rig()
    async with rig.running():
        await rig.commit()
        await rig.until_delivered(1)
    assert rig.batches == [(1,)]


@in_virtual_time
async def test_session_stays_open_when_there_is_nothing_to_send() -> None:
    rig = Rig()
    async with rig.running():
        await asyncio.sleep(5000)
        assert rig.cloud.open_sessions == 1
    assert rig.cloud.sessions == 1


@in_virtual_time
async def test_idle_session_that_is_lost_is_replaced() -> None:
    rig = Rig()
    async with rig.running():
        await asyncio.sleep(10)
        rig.cloud.kick()
        await rig.until(lambda: rig.cloud.sessions == 2, within_s=5)
        assert rig.meter.counts("gateway_cloud_sessions_total", reason="kicked") == 1


@in_virtual_time
async def test_row_stays_pending_until_the_acknowledgement() -> None:
    rig = Rig(weather=Weather(drops_after=1.0, latency_s=0.01))
    async with rig.running():
        await rig.commit()
        await rig.until(lambda: len(rig.batches) >= 2)
        assert rig.in_state(EventState.PENDING) == {1}
        rig.cloud.weather = QUICK
        await rig.until_delivered(1)
    assert len(rig.cloud.items) == 1


@in_virtual_time
async def test_each_session_is_a_fresh_one() -> None:
    rig = Rig(weather=Weather(drops_before=1.0, latency_s=0.01))
    async with rig.running():
        await rig.commit()
        await asyncio.sleep(60)
        assert rig.cloud.sessions == len(rig.cloud.sent) > 3


@in_virtual_time
async def test_waits_grow_with_refused_connects_up_to_the_cap() -> None:
    rig = Rig(weather=Weather(refuses_connect=1.0, latency_s=0), backoff_initial_s=1, backoff_max_s=8)
    async with rig.running():
        await asyncio.sleep(2000)
    waits = [s.next_attempt_in_s for s in rig.states if s.state is UplinkState.BACKING_OFF]
    assert max(w for w in waits[:1] if w is not None) <= 1
    assert 6 < max(w for w in waits if w is not None) <= 8
    assert 1000 / 4 < rig.cloud.connect_attempts < 2000 / 3


@in_virtual_time
async def test_wait_grows_when_connects_succeed_but_nothing_is_acknowledged() -> None:
    rig = Rig(weather=Weather(drops_before=1.0, latency_s=0), backoff_max_s=60)
    async with rig.running():
        await rig.commit()
        await asyncio.sleep(2000)
        assert rig.cloud.sessions < 120
        assert rig.forwarder.status.attempts > 10


@in_virtual_time
async def test_acknowledgement_resets_the_wait() -> None:
    rig = Rig(weather=Weather(drops_before=1.0, latency_s=0))
    async with rig.running():
        await rig.commit()
        await asyncio.sleep(500)
        rig.cloud.weather = QUICK
        await rig.until_delivered(1)
        assert rig.forwarder.status.attempts == 0


@in_virtual_time
async def test_hung_connect_is_given_up() -> None:
    rig = Rig(weather=Weather(hangs_connect=1.0), connect_timeout_s=30)
    async with rig.running():
        await asyncio.sleep(93)
        rig.cloud.weather = QUICK
        assert rig.forwarder.status.reason == "connect_timeout"
        await rig.commit()
        await rig.until_delivered(1, within_s=5)


@in_virtual_time
async def test_a_slow_start_of_the_sdk_is_no_slow_connect() -> None:
    rig = Rig(weather=Weather(starts_for_s=55, latency_s=0), connect_timeout_s=30)
    async with rig.running():
        await rig.commit()
        await rig.until_delivered(1, within_s=60)


@in_virtual_time
async def test_silence_ends_the_session_within_the_send_timeout_and_a_margin() -> None:
    rig = Rig(weather=Weather(goes_half_open=1.0), send_timeout_s=12)
    async with rig.running():
        await rig.commit()
        await rig.until(lambda: rig.forwarder.status.reason == "no_acknowledgement", within_s=16)


@in_virtual_time
async def test_one_message_without_answer_ends_the_session_though_others_are_answered() -> None:
    rig = Rig(weather=Weather(never_acknowledges=1.0, latency_s=0.01), send_timeout_s=12, batch_wait_s=0)
    async with rig.running():
        await rig.commit()
        await asyncio.sleep(1)
        rig.cloud.weather = QUICK
        for _ in range(20):
            await rig.commit()
            await asyncio.sleep(1)
        assert rig.meter.counts("gateway_cloud_sessions_total", reason="send_timeout") == 1
        await rig.until_delivered(21)


@in_virtual_time
async def test_idle_session_is_never_called_silent() -> None:
    rig = Rig()
    async with rig.running():
        await rig.commit()
        await rig.until_delivered(1)
        await asyncio.sleep(1000)
        await rig.commit()
        await rig.until_delivered(2)
    assert rig.cloud.sessions == 1


@in_virtual_time
async def test_session_that_hangs_on_close_is_abandoned() -> None:
    rig = Rig(weather=Weather(hangs_on_close=1.0, latency_s=0.01))
    async with rig.running():
        await rig.commit()
        await rig.until_delivered(1)
        rig.cloud.kick()
        await rig.until(lambda: rig.cloud.sessions == 2, within_s=10)
        await rig.commit()
        await rig.until_delivered(2, within_s=5)


@in_virtual_time
async def test_cancelling_stops_promptly_and_leaves_the_rest_pending() -> None:
    rig = Rig(weather=Weather(goes_half_open=1.0))
    async with rig.running() as task:
        await rig.commit(3)
        await rig.until(lambda: len(rig.cloud.in_flight) > 0)
        began_s = rig.clock.monotonic()
        task.cancel()
        await asyncio.wait([task])
        assert rig.clock.monotonic() - began_s < 0.1
    assert rig.in_state(EventState.PENDING) == {1, 2, 3}
    assert rig.forwarder.status.state is UplinkState.STOPPED


@in_virtual_time
async def test_cancelling_at_the_moment_the_link_drops_still_stops() -> None:
    rig = Rig(weather=Weather(goes_half_open=1.0))
    async with rig.running() as task:
        await rig.commit()
        await rig.until(lambda: len(rig.cloud.in_flight) > 0)
        rig.cloud.kick()
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=60)
        assert done


@in_virtual_time
async def test_pending_is_sent_again_after_a_restart() -> None:
    rig = Rig(weather=Weather(goes_half_open=1.0))
    async with rig.running():
        await rig.commit(3)
        await rig.until(lambda: len(rig.cloud.in_flight) > 0)
    rig.cloud.weather = QUICK
    rig.forwarder = rig.new_forwarder()
    async with rig.running():
        await rig.until_delivered(3)


@in_virtual_time
async def test_same_forwarder_may_run_again() -> None:
    rig = Rig()
    for round_ in (1, 2):
        async with rig.running():
            await rig.commit()
            await rig.until_delivered(round_)


@in_virtual_time
async def test_status_tells_state_reason_and_last_acknowledgement() -> None:
    rig = Rig(weather=Weather(refuses_connect=1.0))
    assert rig.forwarder.status.state is UplinkState.DISCONNECTED
    async with rig.running():
        await asyncio.sleep(1)
        await rig.until(lambda: rig.forwarder.status.state is UplinkState.BACKING_OFF)
        waiting = rig.forwarder.status
        assert waiting.reason == "refused"
        assert waiting.next_attempt_in_s is not None
        rig.cloud.weather = QUICK
        await rig.commit()
        await rig.until_delivered(1)
        connected = rig.forwarder.status
        assert (connected.state, connected.reason) == (UplinkState.CONNECTED, "")
        assert connected.last_acknowledged_at is not None
        assert connected.next_attempt_in_s is None


@in_virtual_time
async def test_metrics_follow_the_session() -> None:
    rig = Rig(weather=Weather(goes_half_open=1.0))
    async with rig.running():
        await rig.commit()
        await asyncio.sleep(8)
        assert rig.meter.levels["gateway_cloud_connected"] == 1
        assert 5 < rig.meter.levels["gateway_cloud_acknowledgement_age_seconds"] < 9
        rig.cloud.weather = Weather(refuses_connect=1.0)
        await asyncio.sleep(10)
        assert rig.meter.levels["gateway_cloud_connected"] == 0
        assert rig.meter.levels["gateway_cloud_acknowledgement_age_seconds"] == 0
        assert rig.meter.counts("gateway_cloud_messages_total", outcome="lost") == 1
        rig.cloud.weather = QUICK
        await rig.until_delivered(1)
        assert rig.meter.counts("gateway_cloud_messages_total", outcome="acknowledged") == 1
        assert rig.meter.counts("gateway_cloud_events_total", outcome="delivered") == 1


@in_virtual_time
async def test_hub_that_answers_slowly_is_not_given_up() -> None:
    rig = Rig(weather=Weather(latency_s=6), send_timeout_s=12)
    async with rig.running():
        await rig.commit(3)
        await asyncio.sleep(100)
        await rig.until_delivered(3)
    assert rig.cloud.sessions == 1
