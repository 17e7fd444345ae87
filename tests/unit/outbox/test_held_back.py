"""What filters hold back is stored, answered and counted exactly, over restarts."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.errors import RequestInvalid
from gateway.messages import (
    OnChange,
)
from gateway.outbox import pruning
from gateway.outbox.inspection import read_policy_counts
from tests.fakes.held_back import (
    BESIDES,
    FILTERED,
    INSTEAD,
    MINUTE,
    ON_CHANGE,
    PENDING,
    Device,
    counted,
    states,
    summaries,
)
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import StillClock, opened


async def test_only_changes_are_sent_and_the_rest_is_answered_and_told_by_tombstones(tmp_path: Path) -> None:
    device = Device(on_change=ON_CHANGE)
    async with opened(tmp_path, clock=device.clock) as outbox:
        receipts = [await device.send(outbox, label) for label in ("ripe", "ripe", "unripe", "unripe", "ripe")]
        assert [receipt.sequence for receipt in receipts] == [1, 2, 3, 4, 5]
        assert await states(outbox) == [PENDING, FILTERED, PENDING, FILTERED, PENDING]
        tombstones = await outbox.pending_tombstones(limit=9)
        assert [(t.first_sequence, t.last_sequence, t.reason, t.labels) for t in tombstones] == [
            (2, 2, "filtered", {"ripe": 1}),
            (4, 4, "filtered", {"unripe": 1}),
        ]
        state = await outbox.state()
        assert (state.pending, state.held_back, state.filtered_total) == (3, 2, 2)
    assert read_policy_counts(tmp_path)["on_change"] == 2


async def test_each_device_and_kind_has_its_own_last_one(tmp_path: Path) -> None:
    one, other = Device("cam-1", on_change=ON_CHANGE), Device("cam-2", on_change=ON_CHANGE)
    async with opened(tmp_path, clock=one.clock) as outbox:
        await one.send(outbox, "ripe")
        await other.send(outbox, "ripe")
        await other.send(outbox, "ripe")
        await one.send(outbox, draft(values_json='{"t":1}').result)
        assert await states(outbox, "cam-1") == [PENDING, PENDING]
        assert await states(outbox, "cam-2") == [PENDING, FILTERED]


async def test_one_is_sent_so_often_although_nothing_changes(tmp_path: Path) -> None:
    device = Device(on_change=ON_CHANGE)
    async with opened(tmp_path, clock=device.clock) as outbox:
        for _ in range(4):
            await device.send(outbox, "ripe")
            device.clock.advance(30 * MINUTE)
        assert await states(outbox) == [PENDING, FILTERED, PENDING, FILTERED]


async def test_the_last_one_sent_is_remembered_over_a_restart_and_elements_count_in_their_order(tmp_path: Path) -> None:
    device = Device(on_change=ON_CHANGE)
    async with opened(tmp_path, clock=device.clock) as outbox:
        await device.send(outbox, "ripe")
    async with opened(tmp_path, clock=device.clock) as outbox:
        await device.send(outbox, "ripe", "unripe", "unripe", "ripe")
        assert [e.sequence for e in await outbox.pending(limit=9)] == [1, 3, 5]


async def test_slow_drift_within_the_band_is_noticed(tmp_path: Path) -> None:
    device = Device("t", on_change=OnChange(max_s=None, band=0.5))
    async with opened(tmp_path, clock=device.clock) as outbox:
        for tenth in range(12):
            await device.send(outbox, draft(values_json=json.dumps({"t": 20 + tenth / 10})).result)
        sent = [n for n, state in enumerate(await states(outbox, "t")) if state is PENDING]
        assert sent == [0, 6]


async def test_redelivery_changes_nothing(tmp_path: Path) -> None:
    device = Device(on_change=ON_CHANGE, summarise=BESIDES)
    async with opened(tmp_path, clock=device.clock) as outbox:
        await device.send(outbox, "ripe")
        first = await device.send(outbox, "ripe")
        device._sent -= 1
        again = await device.send(outbox, "ripe")
        assert (again.duplicate, again.sequence) == (True, first.sequence)
        assert (await outbox.state()).sequence_high == 2
        device.clock.advance(11 * MINUTE)
        await device.send(outbox, "ripe")
        (summary,) = await summaries(outbox)
        assert counted(summary)["count"] == 2


async def test_what_is_held_back_wakes_no_forwarder(tmp_path: Path) -> None:
    device = Device(fate=FILTERED)
    async with opened(tmp_path, clock=device.clock) as outbox:
        await device.send(outbox, "ripe")
        await device.send(outbox, "ripe", summarise=INSTEAD, fate=PENDING)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(outbox.wait_for_work(), 0.1)
        await device.send(outbox, "ripe", fate=PENDING)
        await asyncio.wait_for(outbox.wait_for_work(), 5)


async def test_request_that_fails_alone_counts_for_nothing(tmp_path: Path) -> None:
    good, bad = Device("good", on_change=ON_CHANGE), Device("bad", fate=FILTERED)
    half_a_pair = draft(values_json='{"t":"\ud800"}').result
    async with opened(tmp_path, clock=good.clock) as outbox:
        await good.send(outbox, "ripe")
        ends = await asyncio.gather(good.send(outbox, "ripe"), bad.send(outbox, half_a_pair), return_exceptions=True)
        assert [isinstance(end, RequestInvalid) for end in ends] == [False, True]
        assert (await outbox.state()).filtered_total == 1
        assert [t.last_sequence for t in await outbox.pending_tombstones(limit=9)] == [2]
    assert read_policy_counts(tmp_path) == {"on_change": 1, "windows": 0}


async def test_devices_that_on_change_remembers_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "LAST_SENT_KEPT_MAX", 2)
    clock = StillClock()
    devices = [Device(f"cam-{n}", on_change=ON_CHANGE) for n in range(3)]
    async with opened(tmp_path, clock=clock) as outbox:
        for device in devices:
            await device.send(outbox, "ripe")
            clock.advance(MINUTE)
        assert await outbox.prune_step(clock.now()) == 1
        for device in devices:
            await device.send(outbox, "ripe")
        assert [await states(outbox, f"cam-{n}") for n in range(3)] == [
            [PENDING, PENDING],
            [PENDING, FILTERED],
            [PENDING, FILTERED],
        ]
