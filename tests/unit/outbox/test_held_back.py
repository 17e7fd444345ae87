"""What policies hold back is stored, answered and counted exactly, over restarts; summaries close by themselves."""

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

from gateway.errors import OutboxFull, RequestInvalid
from gateway.messages import (
    Classification,
    ClockState,
    CommandState,
    EventState,
    Kind,
    ModelIdentity,
    OnChange,
    PendingEvent,
    Prediction,
    Receipt,
    Result,
    Summarise,
    Summary,
    SummaryMode,
    Transport,
)
from gateway.outbox import pruning
from gateway.outbox.event_text import event_json
from gateway.outbox.inspection import list_events, read_pending_by_priority, read_policy_counts
from gateway.outbox.sqlite_outbox import SqliteOutbox
from gateway.outbox.writer import WINDOWS_EVERY_S
from gateway.settings import OutboxSettings
from gateway.timekeeping.boots import ClockOffset, ClockSource
from tests.fakes.outbox import SOME_TIME, draft
from tests.fakes.outbox_parts import KeptMeter, StillClock, opened

ON_CHANGE = OnChange(max_s=3600)
INSTEAD = Summarise(mode=SummaryMode.INSTEAD, window_s=600)
BESIDES = Summarise(mode=SummaryMode.BESIDES, window_s=600)
PENDING, FILTERED, SUMMARISED = EventState.PENDING, EventState.FILTERED, EventState.SUMMARISED
MINUTE = timedelta(minutes=1)


def picture(label: str, probability: float = 0.9) -> Classification:
    return Classification(
        predictions=(Prediction(label=label, probability=probability), Prediction(label="other", probability=0.01)),
        model=ModelIdentity(name="m", model_sha256="", labels_sha256="", runtime="litert"),
        image_format="JPEG",
        image_width=1,
        image_height=1,
        decode_ms=0,
        preprocess_ms=0,
        inference_ms=0,
    )


class Device:
    """Sends to an outbox under policies; ids count up over restarts."""

    def __init__(self, device_id: str = "cam-1", **policy: Any) -> None:
        self.device_id = device_id
        self.policy = policy
        self.clock = StillClock()
        self._sent = 0

    async def send(self, outbox: SqliteOutbox, *results: Result | str, **also: Any) -> Receipt:
        """Send one submission; a text is a label."""
        self._sent += 1
        drafts = [
            draft(
                f"s-{self._sent}",
                item=n if len(results) > 1 else None,
                device_id=self.device_id,
                result=picture(result) if isinstance(result, str) else result,
                boottime_s=self.clock.boottime_s,
                received_at=self.clock.wall,
                **(self.policy | also),
            )
            for n, result in enumerate(results)
        ]
        return await outbox.commit(drafts)


async def states(outbox: SqliteOutbox, device: str = "cam-1", *, first: int = 1) -> list[EventState]:
    found = []
    number = first
    while event := await outbox.find_event(device, f"s-{number}"):
        found.append(event.state)
        number += 1
    return found


async def summaries(outbox: SqliteOutbox) -> list[PendingEvent]:
    return [event for event in await outbox.pending(limit=1000) if event.kind is Kind.SUMMARY]


def counted(event: PendingEvent) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(event.result_json)
    return told


def counts_by_label(event: PendingEvent) -> dict[str, int]:
    return {label: of["count"] for label, of in counted(event)["labels"].items()}


# --- filters ------------------------------------------------------------------------------------------


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


# --- summaries ----------------------------------------------------------------------------------------


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
from tests.unit.outbox.test_held_back import BESIDES, INSTEAD, ON_CHANGE, Device

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
