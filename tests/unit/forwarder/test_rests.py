"""The forwarder rests while it may not send: no connection is kept, nothing is lost, and it goes on by itself."""

import asyncio

from gateway.forwarding.allowance import Allowance, Rest
from gateway.forwarding.status import UplinkState
from gateway.messages import EventState
from tests.fakes.virtual_time import in_virtual_time
from tests.unit.forwarder.rig import Rig


class Switch(Allowance):
    """Rests while ``closed`` is set; counts what is spent."""

    def __init__(self) -> None:
        self.closed = ""
        self.spent: list[int] = []
        self._budget_bytes = 0

    def rest(self) -> Rest | None:
        return Rest(reason=self.closed, for_s=3600) if self.closed else None

    async def spend(self, byte_count: int) -> None:
        self.spent.append(byte_count)


def rig_with_switch() -> tuple[Rig, Switch]:
    rig, switch = Rig(), Switch()
    rig.allowance = switch
    rig.forwarder = rig.new_forwarder()
    return rig, switch


@in_virtual_time
async def test_no_session_is_opened_while_the_uplink_rests() -> None:
    rig, switch = rig_with_switch()
    switch.closed = "quiet_hours"
    async with rig.running():
        await rig.commit(3)
        await asyncio.sleep(1000)
        assert rig.cloud.sessions == 0
        assert (rig.forwarder.status.state, rig.forwarder.status.reason) == (UplinkState.RESTING, "quiet_hours")


@in_virtual_time
async def test_when_the_rest_is_over_everything_goes() -> None:
    rig, switch = rig_with_switch()
    switch.closed = "quiet_hours"
    async with rig.running():
        await rig.commit(3)
        await asyncio.sleep(1000)
        switch.closed = ""
        await rig.until_delivered(3, within_s=120)


@in_virtual_time
async def test_a_session_ends_politely_when_the_rest_begins_and_no_event_is_stuck() -> None:
    rig, switch = rig_with_switch()
    async with rig.running():
        await rig.commit(2)
        await rig.until_delivered(2)
        switch.closed = "daily_budget_spent"
        await rig.commit(2)
        await rig.until(lambda: rig.cloud.open_sessions == 0, within_s=60)
        assert len(rig.in_state(EventState.PENDING)) == 2
        switch.closed = ""
        await rig.until_delivered(4, within_s=120)
    assert rig.meter.counts("gateway_cloud_sessions_total", reason="daily_budget_spent") == 1
    assert sorted(sequence for batch in rig.batches for sequence in batch) == [1, 2, 3, 4]


@in_virtual_time
async def test_what_is_counted_is_what_the_hub_counts() -> None:
    rig, switch = rig_with_switch()
    async with rig.running():
        await rig.commit(1)
        await rig.until_delivered(1)
    assert len(switch.spent) == len(rig.cloud.sent) == 1
    assert switch.spent[0] > 100
