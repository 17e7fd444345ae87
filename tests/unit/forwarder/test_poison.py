"""Events that the hub hates: set aside with a reason, told by a tombstone, never in the way of the rest."""

import asyncio
import itertools

import pytest

from gateway.errors import MessageRefused
from gateway.messages import EventState
from tests.fakes.lossy_cloud import Arrival, Fate, LossyCloud, Weather
from tests.fakes.virtual_time import in_virtual_time
from tests.unit.forwarder.rig import QUICK, Rig


@pytest.mark.parametrize("fate", [Fate.DROP, Fate.SILENCE, Fate.DROP_AFTER_RECORDING])
@in_virtual_time
async def test_event_that_breaks_the_link_becomes_a_dead_letter(fate: Fate) -> None:
    rig = Rig()
    rig.cloud.poison = {5: fate}
    await rig.commit(40)
    async with rig.running():
        for _ in range(200):
            await rig.commit()
            await asyncio.sleep(5)
    assert rig.in_state(EventState.DEAD) == {5}
    assert rig.outbox.events[5].dead_reason == "breaks_the_link"
    assert rig.cloud.buried == {5}
    assert rig.cloud.sequences | {5} >= set(range(1, 241))
    assert rig.meter.counts("gateway_cloud_events_total", outcome="dead") == 1


@in_virtual_time
async def test_the_rest_is_delivered_long_before_the_verdict() -> None:
    rig = Rig()
    rig.cloud.poison = {1: Fate.DROP}
    await rig.commit(40)
    async with rig.running():
        await rig.until_delivered(39, within_s=60)
        assert rig.in_state(EventState.DEAD) == set()


@in_virtual_time
async def test_poison_with_nothing_else_to_send_is_tried_for_ever() -> None:
    rig = Rig()
    rig.cloud.poison = {1: Fate.DROP}
    await rig.commit()
    async with rig.running():
        await asyncio.sleep(20_000)
        assert rig.in_state(EventState.PENDING) == {1}
        assert 300 < rig.cloud.connect_attempts < 2000


@in_virtual_time
async def test_outage_with_a_full_window_convicts_nobody_and_costs_few_single_messages() -> None:
    rig = Rig(weather=Weather(latency_s=0.2))
    await rig.commit(600)
    async with rig.running():
        for _ in range(4):
            await asyncio.sleep(0.5)
            rig.cloud.kick()
        await rig.until_delivered(600)
    assert rig.in_state(EventState.DEAD) == set()
    singles = [sequences for sequences in rig.offered if len(sequences) == 1]
    assert len(singles) < 10


@in_virtual_time
async def test_after_a_drop_one_message_flies_at_a_time_until_the_suspects_have_passed() -> None:
    rig = Rig(weather=Weather(latency_s=0.5))
    await rig.commit(400)
    async with rig.running():
        await rig.until(lambda: len(rig.cloud.in_flight) > 5)
        rig.cloud.kick()
        suspects = rig.in_state(EventState.PENDING) & {s for batch in rig.offered for s in batch}
        await rig.until(lambda: rig.cloud.sessions == 2)
        rig.cloud.in_flight_peak = 0
        await rig.until(lambda: suspects <= rig.cloud.sequences)
        assert rig.cloud.in_flight_peak <= 1
        await rig.until_delivered(400)
        assert rig.cloud.in_flight_peak > 1


@in_virtual_time
async def test_trial_is_the_first_message_of_a_fresh_session() -> None:
    rig = Rig(batch_bytes_max=1024, drain_batch_bytes_max=1024)
    rig.cloud.poison = {1: Fate.DROP}
    await rig.commit(60)
    async with rig.running():
        await rig.until(lambda: rig.meter.counts("gateway_cloud_sessions_total", reason="trial_of_a_suspect") >= 3)
        await rig.until(lambda: rig.offered.count((1,)) >= 5)
    trials = [index for index, sequences in enumerate(rig.offered) if sequences == (1,)]
    assert all(later - earlier > 4 for earlier, later in itertools.pairwise(trials[2:]))


@in_virtual_time
async def test_refused_batch_is_split_until_the_refused_event_is_alone() -> None:
    rig = Rig()
    rig.cloud.poison = {3: Fate.REFUSE}
    await rig.commit(8)
    async with rig.running():
        await rig.until_delivered(7)
        await rig.until(lambda: rig.cloud.buried == {3})
    assert rig.outbox.events[3].dead_reason == "hub_refused"
    assert rig.cloud.sessions == 1
    assert (3,) in rig.offered


class RefusesCompany(LossyCloud):
    """Says no to a tombstone that does not come alone."""

    def offered(self, arrival: Arrival) -> None:
        tombstones, items = len(arrival.body["tombstones"]), len(arrival.body["items"])
        if tombstones and tombstones + items > 1:
            raise MessageRefused("not_alone")


@in_virtual_time
async def test_refused_batch_with_tombstones_sends_them_apart() -> None:
    rig = Rig(cloud_class=RefusesCompany, batch_wait_s=0)
    await rig.commit(9)
    for sequence in (2, 4, 6, 8):
        await rig.outbox.mark_dead(sequence, "evicted")
    async with rig.running():
        await rig.until_delivered(5)
        await rig.until(lambda: rig.cloud.buried == {2, 4, 6, 8})
    assert rig.in_state(EventState.DEAD) == {2, 4, 6, 8}


class RefusesTombstones(LossyCloud):
    def offered(self, arrival: Arrival) -> None:
        if arrival.body["tombstones"]:
            raise MessageRefused("no_tombstones")


@in_virtual_time
async def test_single_tombstone_that_is_refused_blocks_nothing() -> None:
    rig = Rig(cloud_class=RefusesTombstones, batch_wait_s=0)
    await rig.commit(3)
    await rig.outbox.mark_dead(2, "evicted")
    async with rig.running():
        await rig.until_delivered(2)
        await rig.commit(5)
        await rig.until_delivered(7)
    assert len(rig.outbox.tombstones) == 1


@in_virtual_time
async def test_requeued_dead_letter_is_tried_again() -> None:
    rig = Rig()
    rig.cloud.poison = {1: Fate.REFUSE}
    await rig.commit()
    async with rig.running():
        await rig.until(lambda: rig.in_state(EventState.DEAD) == {1})
        rig.cloud.poison = {}
        await rig.outbox.requeue([1])
        await rig.until_delivered(1)


@in_virtual_time
async def test_suspect_that_is_evicted_ends_the_caution() -> None:
    rig = Rig(weather=QUICK)
    rig.cloud.poison = {1: Fate.DROP}
    await rig.commit()
    async with rig.running():
        await rig.until(lambda: rig.cloud.sessions > 5)
        await rig.outbox.mark_dead(1, "evicted")
        await rig.commit(100)
        await rig.until_delivered(100)
        rig.cloud.in_flight_peak = 0
        rig.cloud.weather = Weather(latency_s=1)
        await rig.commit(100)
        await rig.until_delivered(200)
        assert rig.cloud.in_flight_peak > 1
