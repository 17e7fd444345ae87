"""What summaries hold back is counted exactly, over restarts and kills; they close by themselves."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import OutboxFull
from gateway.messages import (
    ClockState,
    CommandState,
    EventState,
    Kind,
    Summary,
    Transport,
)
from gateway.outbox.event_text import event_json
from gateway.outbox.inspection import list_events, read_pending_by_priority, read_policy_counts
from gateway.outbox.writer import WINDOWS_EVERY_S
from gateway.settings import OutboxSettings
from gateway.timekeeping.boots import ClockOffset, ClockSource
from tests.fakes.held_back import (
    BESIDES,
    FILTERED,
    INSTEAD,
    MINUTE,
    ON_CHANGE,
    PENDING,
    SUMMARISED,
    Device,
    counted,
    counts_by_label,
    states,
    summaries,
)
from tests.fakes.outbox import SOME_TIME, draft
from tests.fakes.outbox_parts import KeptMeter, StillClock, opened


async def test_window_counts_what_it_holds_back_and_closes_with_the_first_event_after_it(tmp_path: Path) -> None:
    device = Device(summarise=INSTEAD, priority=3)
    async with opened(tmp_path, clock=device.clock) as outbox:
        for label in ("ripe", "unripe", "ripe"):
            await device.send(outbox, label)
            device.clock.advance(MINUTE)
        assert await outbox.pending_spans() == ()
        device.clock.advance(8 * MINUTE)
        receipt = await device.send(outbox, "ripe")
        assert receipt.sequence == 5, "the summary came before it"
        (summary,) = await outbox.pending(priority=3, limit=9)
        assert (summary.sequence, summary.device_id, summary.transport) == (4, "cam-1", Transport.GATEWAY)
        assert summary.item_id == "summary-1-3"
        assert counts_by_label(summary) == {"ripe": 2, "unripe": 1}
        assert (counted(summary)["from"], counted(summary)["to"]) == (
            "2026-03-01T12:00:00.000Z",
            "2026-03-01T12:02:00.000Z",
        )
        told, _ = await outbox.pending_tombstones(limit=9)
        assert (told.first_sequence, told.last_sequence, told.reason_counts) == (1, 3, {"summarised": 3})
        state = await outbox.state()
        assert (state.pending, state.summarised_total, state.sequence_high) == (1, 4, 5)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"summarise": BESIDES}, [PENDING, PENDING, PENDING]),
        ({"summarise": INSTEAD, "on_change": ON_CHANGE}, [PENDING, SUMMARISED, PENDING]),
        ({"summarise": BESIDES, "on_change": ON_CHANGE}, [PENDING, FILTERED, PENDING]),
    ],
)
async def test_a_summary_counts_all_whatever_is_sent_besides(
    tmp_path: Path, policy: dict[str, Any], expected: Sequence[EventState]
) -> None:
    device = Device(**policy)
    async with opened(tmp_path, clock=device.clock) as outbox:
        for label in ("ripe", "ripe", "unripe"):
            await device.send(outbox, label)
        assert await states(outbox) == expected
        device.clock.advance(11 * MINUTE)
        await device.send(outbox, "ripe")
        (summary,) = await summaries(outbox)
        assert counts_by_label(summary) == {"ripe": 2, "unripe": 1}


async def test_unsure_results_are_counted_apart(tmp_path: Path) -> None:
    device = Device(summarise=INSTEAD)
    async with opened(tmp_path, clock=device.clock) as outbox:
        await device.send(outbox, "ripe")
        await device.send(outbox, "unripe", fate=FILTERED)
        device.clock.advance(11 * MINUTE)
        await device.send(outbox, "ripe")
        (summary,) = await summaries(outbox)
        assert (counted(summary)["below_min_probability"], counts_by_label(summary)) == (1, {"ripe": 1})


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in the writer's thread
            await asyncio.sleep(0.01)


async def test_device_that_fell_silent_gets_its_summary_and_the_forwarder_hears_of_it(tmp_path: Path) -> None:
    device, meter = Device(summarise=INSTEAD), KeptMeter()
    async with opened(tmp_path, clock=device.clock, meter=meter) as outbox:
        await device.send(outbox, "ripe")
        # Answered after the writer's look that follows the commit: it must not meet a clock that moves under it.
        await outbox.settle_command("no such command", CommandState.TOLD, "")
        device.clock.advance(11 * MINUTE, seconds=WINDOWS_EVERY_S)
        await outbox.settle_command("no such command", CommandState.TOLD, "")  # so that the writer looks
        await asyncio.wait_for(outbox.wait_for_work(), 10)
        (summary,) = await summaries(outbox)
        assert counts_by_label(summary) == {"ripe": 1}
        assert meter.counts["gateway_summaries_total"] == 1
        assert meter.counts["gateway_policy_held_back_total"] == 1
    assert read_policy_counts(tmp_path) == {"summary": 1, "summaries": 1, "windows": 0}


async def test_window_goes_on_after_a_restart_and_time_without_power_does_not_count(tmp_path: Path) -> None:
    device = Device(summarise=INSTEAD)
    async with opened(tmp_path, clock=device.clock) as outbox:
        await device.send(outbox, "ripe")
    assert read_policy_counts(tmp_path)["windows"] == 1
    device.clock.reboot(off=timedelta(days=30))
    async with opened(tmp_path, clock=device.clock) as outbox:
        await device.send(outbox, "ripe")
        assert await summaries(outbox) == []
        device.clock.advance(11 * MINUTE)
        await device.send(outbox, "unripe")
        (summary,) = await summaries(outbox)
        assert counts_by_label(summary) == {"ripe": 2}


async def test_times_in_a_summary_are_set_right_once_the_clock_is(tmp_path: Path) -> None:
    device = Device(summarise=INSTEAD)
    device.clock.reboot(wall=SOME_TIME.replace(year=1970))
    async with opened(tmp_path, clock=device.clock) as outbox:
        await device.send(outbox, "ripe")
        device.clock.advance(11 * MINUTE)
        await device.send(outbox, "ripe")
        (before,) = await summaries(outbox)
        assert counted(before)["from_clock"] == "unsynced"
        offset_s = SOME_TIME.timestamp() - device.clock.boottime_s
        await outbox.note_offset(
            ClockOffset(from_boottime_s=device.clock.boottime_s, offset_s=offset_s, source=ClockSource.KERNEL)
        )
        (after,) = await summaries(outbox)
        assert (counted(after)["from"], counted(after)["from_clock"]) == ("2026-03-01T11:49:00.000Z", "corrected")
        shown = await outbox.find_event("cam-1", after.item_id)
        assert shown is not None
        assert isinstance(shown.result, Summary)
        assert (shown.result.first.received_at, shown.result.first.clock) == (SOME_TIME - 11 * MINUTE, after.clock)
        assert (after.clock, after.received_at) == (ClockState.CORRECTED, SOME_TIME)


async def test_window_that_finds_no_room_stays_open_and_loses_nothing(tmp_path: Path) -> None:
    device = Device(summarise=BESIDES)
    async with opened(tmp_path, settings=OutboxSettings(rows_max=10), clock=device.clock) as outbox:
        for _ in range(9):
            await device.send(outbox, "ripe")
        device.clock.advance(11 * MINUTE)
        filler = Device("other")
        await filler.send(outbox, "ripe")
        with pytest.raises(OutboxFull):
            await device.send(outbox, "ripe")
        device.clock.advance(MINUTE, seconds=WINDOWS_EVERY_S)
        await outbox.settle_command("no such command", CommandState.TOLD, "")
        assert await summaries(outbox) == []
        await outbox.mark_delivered([1, 2], [])
        await device.send(outbox, "unripe")
        (summary,) = await summaries(outbox)
        assert counts_by_label(summary) == {"ripe": 9}


async def test_many_windows_close_in_steps(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock=clock) as outbox:
        for n in range(120):
            await Device(f"cam-{n}", summarise=INSTEAD).send(outbox, "ripe")
        clock.advance(11 * MINUTE, seconds=WINDOWS_EVERY_S)
        await outbox.settle_command("no such command", CommandState.TOLD, "")

        async def all_closed() -> bool:
            return len(await summaries(outbox)) == 120

        await until(all_closed)
        state = await outbox.state()
        assert (state.pending, state.summarised_total, state.sequence_high) == (120, 120, 240)


async def test_summary_is_shown_to_people(tmp_path: Path) -> None:
    device = Device("t", summarise=INSTEAD, priority=2)
    async with opened(tmp_path, clock=device.clock) as outbox:
        await device.send(outbox, draft(values_json='{"t":21.5}').result)
        device.clock.advance(11 * MINUTE)
        await device.send(outbox, draft(values_json='{"t":22}').result)
        (summary,) = await outbox.pending(priority=2, limit=9)
        shown = await outbox.find_event("t", summary.item_id)
    assert shown is not None
    told = json.loads(event_json(shown))
    assert told["kind"] == "summary"
    assert told["result"] == {
        "of": "reading",
        "window_s": 600,
        "from": "2026-03-01T12:00:00.000Z",
        "from_clock": "unsynced",
        "to": "2026-03-01T12:00:00.000Z",
        "to_clock": "unsynced",
        "count": 1,
        "values": {"t": {"count": 1, "min": 21.5, "mean": 21.5, "max": 21.5}},
    }
    assert list(read_pending_by_priority(tmp_path)) == [2]


async def test_age_of_what_waits_is_shown_by_priority(tmp_path: Path) -> None:
    device, meter = Device(), KeptMeter()
    async with opened(tmp_path, clock=device.clock, meter=meter) as outbox:
        await device.send(outbox, "ripe", priority=1)
        device.clock.advance(MINUTE)
        await device.send(outbox, "ripe", priority=7)
        await outbox.state()
        ages = [meter.levels["gateway_outbox_oldest_pending_age_seconds", p] for p in ("1", "7")]
        assert ages == [60, 0]
        await outbox.mark_delivered([1], [])
        device.clock.advance(MINUTE)
        await outbox.state()
        ages = [meter.levels["gateway_outbox_oldest_pending_age_seconds", p] for p in ("1", "7")]
        assert ages == [0, 60]


# Commits from ten devices whose windows close all the time, by themselves and in passing.
WRITER = """
import asyncio, itertools, sys
from datetime import timedelta
from pathlib import Path
from gateway.outbox.writer import WINDOWS_EVERY_S
from tests.fakes.outbox_parts import opened
from tests.fakes.held_back import BESIDES, INSTEAD, ON_CHANGE, Device

async def main():
    devices = [Device(f"cam-{n}", summarise=BESIDES if n % 2 else INSTEAD, on_change=ON_CHANGE) for n in range(10)]
    clock = devices[0].clock
    for device in devices:
        device.clock = clock
    async with opened(Path(sys.argv[1]), clock=clock) as outbox:
        for n in itertools.count():
            await asyncio.gather(*(device.send(outbox, "ripe", "unripe", "ripe") for device in devices[n % 3 :]))
            clock.advance(timedelta(minutes=4), seconds=WINDOWS_EVERY_S)

asyncio.run(main())
"""
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "point",
    [
        "outbox_after_commit:21",
        "outbox_before_close_windows:3",
        "outbox_after_close_windows:3",
    ],
)
async def test_kill_counts_nothing_twice_and_forgets_nothing(tmp_path: Path, point: str) -> None:
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", WRITER, str(tmp_path)],
        env={**os.environ, "GATEWAY_FAILPOINT": point, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert killed.returncode == -9
    clock = StillClock()
    clock.advance(timedelta(days=2), seconds=WINDOWS_EVERY_S)
    async with opened(tmp_path, clock=clock) as outbox:

        async def all_closed() -> bool:
            return read_policy_counts(tmp_path)["windows"] == 0

        await until(all_closed)
        events = list(list_events(tmp_path, limit=10_000))
        single: Counter[str] = Counter(event.device_id for event in events if event.kind is not Kind.SUMMARY)
        summarised: Counter[str] = Counter()
        for event in events:
            if event.kind is Kind.SUMMARY:
                assert isinstance(event.result, Summary)
                summarised[event.device_id] += json.loads(event.result.counts_json)["count"]
        assert len(single) == 10
        assert summarised == single
        held = Counter(event.state for event in events)
        counts = read_policy_counts(tmp_path)
        assert (counts["on_change"], counts["summary"]) == (held[FILTERED], held[SUMMARISED])
        assert counts["summaries"] == sum(event.kind is Kind.SUMMARY for event in events)
        state = await outbox.state()
        assert state.pending + state.filtered_total + state.summarised_total == state.sequence_high
