"""Clocks that are wrong, set, or pulled about: times are set right, and nothing is pruned or kept by a wall clock."""

import contextlib
import shutil
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.messages import ClockState, Command, Delivery, PendingEvent
from gateway.outbox.inspection import export_events, list_events, read_state
from gateway.outbox.pruning import DELIVERIES_KEPT_MAX, PRUNE_ROWS
from gateway.outbox.sqlite_outbox import SqliteOutbox
from gateway.outbox.writer import KEEP_TIME_EVERY_S, PRUNE_EVERY_S
from gateway.settings import OutboxSettings
from gateway.timekeeping.boots import BOOTS_KEPT_MAX, ClockOffset, ClockSource
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import StillClock, opened

KEPT = OutboxSettings(delivered_keep_h=72, id_keep_days=30)
PAST = datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
A = "aa" * 32
OLD_FILE = Path(__file__).resolve().parents[2] / "data" / "outbox" / "outbox-v2.db"


async def commit(
    outbox: SqliteOutbox, clock: StillClock, submission_id: str, *, synced: bool = False, **more: Any
) -> None:
    reading = clock.reading()
    await outbox.commit(
        [
            draft(
                submission_id,
                received_at=reading.wall,
                boottime_s=reading.boottime_s,
                clock=ClockState.SYNCED if synced else ClockState.UNSYNCED,
                **more,
            )
        ]
    )


async def synchronise(outbox: SqliteOutbox, clock: StillClock) -> None:
    reading = clock.reading()
    offset = ClockOffset(from_boottime_s=reading.boottime_s, offset_s=reading.offset_s, source=ClockSource.KERNEL)
    await outbox.note_offset(offset)


async def pending(outbox: SqliteOutbox) -> Sequence[PendingEvent]:
    return await outbox.pending(after_sequence=0, limit=100)


async def prune_all(outbox: SqliteOutbox, clock: StillClock) -> int:
    total = 0
    while step := await outbox.prune_step(clock.now()):
        total += step
    return total


def a_board_in_1970() -> StillClock:
    clock = StillClock()
    clock.wall = PAST
    return clock


def rows(data_dir: Path, sql: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(data_dir / "outbox.db")) as connection:
        return connection.execute(sql).fetchall()


# --- times --------------------------------------------------------------------------------------------


async def test_events_of_1970_are_told_their_true_time_once_the_clock_is_set(tmp_path: Path) -> None:
    clock = a_board_in_1970()
    async with opened(tmp_path, clock=clock) as outbox:
        await commit(outbox, clock, "early")
        (early,) = await pending(outbox)
        assert (early.received_at, early.clock) == (PAST, ClockState.UNSYNCED)
        clock.advance(timedelta(minutes=10))
        clock.jump(NOW - clock.wall)
        await synchronise(outbox, clock)
        await commit(outbox, clock, "late", synced=True)
        early, late = await pending(outbox)
        assert (early.received_at, early.clock) == (NOW - timedelta(minutes=10), ClockState.CORRECTED)
        assert (late.received_at, late.clock) == (NOW, ClockState.SYNCED)
        assert (await outbox.state()).oldest_pending_received_at == NOW - timedelta(minutes=10)


async def test_what_was_set_right_stays_right_after_a_restart_and_for_every_reader(tmp_path: Path) -> None:
    clock = a_board_in_1970()
    async with opened(tmp_path, clock=clock) as outbox:
        await commit(outbox, clock, "early")
        clock.jump(NOW - clock.wall)
        await synchronise(outbox, clock)
    clock.reboot(wall=PAST)
    async with opened(tmp_path, clock=clock) as outbox:
        (early,) = await pending(outbox)
        found = await outbox.find_event("device-1", "early")
    assert found is not None
    (listed,) = list_events(tmp_path)
    assert found == listed
    assert (found.received_at, found.clock) == (early.received_at, early.clock)
    assert (early.received_at, early.clock) == (NOW, ClockState.CORRECTED)
    assert read_state(tmp_path).oldest_pending_received_at == NOW
    with (tmp_path / "out.csv").open("w+") as out:
        export_events(tmp_path, out, fmt="csv")
        out.seek(0)
        assert f",{NOW.isoformat()},corrected," in out.read()
    assert rows(tmp_path, "SELECT time, clock FROM recent_results") == [("2026-11-23T12:00:00.000+00:00", "corrected")]


async def test_an_event_of_a_boot_that_never_knew_the_time_is_bounded(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock=clock) as outbox:
        await synchronise(outbox, clock)
        await commit(outbox, clock, "first", synced=True)
    known = clock.wall
    clock.reboot(wall=PAST)
    async with opened(tmp_path, clock=clock) as outbox:
        clock.advance(timedelta(seconds=59))
        await commit(outbox, clock, "lost in time")
        event = (await pending(outbox))[-1]
    assert (event.clock, event.received_at.year) == (ClockState.UNSYNCED, 1970)
    assert (event.received_after, event.received_before) == (known + timedelta(minutes=1), None)


async def test_a_receipt_says_what_the_clock_was_worth_and_stays_the_same(tmp_path: Path) -> None:
    clock = a_board_in_1970()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        await commit(outbox, clock, "early", payload_sha256=A)
        first = await outbox.recall("device-1", "early", A)
        clock.jump(NOW - clock.wall)
        await synchronise(outbox, clock)
        await outbox.mark_delivered([1], [])
        clock.advance(timedelta(hours=73))
        assert await prune_all(outbox, clock) == 1
        again = await outbox.recall("device-1", "early", A)
    assert first == again
    assert first is not None
    assert (first.items[0].received_at, first.items[0].clock) == (PAST, ClockState.UNSYNCED)


async def test_drafts_without_a_boottime_are_taken(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.commit([draft("a")])
        await synchronise(outbox, StillClock())
        (event,) = await pending(outbox)
    assert event.clock is ClockState.UNSYNCED


# --- keeping times ------------------------------------------------------------------------------------


async def test_a_jump_forward_prunes_and_forgets_nothing(tmp_path: Path) -> None:
    clock = a_board_in_1970()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        await commit(outbox, clock, "a", payload_sha256=A)
        await outbox.mark_delivered([1], [])
        await outbox.store_command(Command(command_id="c", received_at=clock.now(), body=b"", properties={}))
        clock.jump(NOW - clock.wall)
        await synchronise(outbox, clock)
        assert await prune_all(outbox, clock) == 0
        clock.jump(timedelta(days=3650))
        await synchronise(outbox, clock)
        assert await prune_all(outbox, clock) == 0
        assert await outbox.recall("device-1", "a", A) is not None


async def test_a_jump_back_does_not_keep_things_for_ever(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        await commit(outbox, clock, "a", payload_sha256=A)
        await outbox.mark_delivered([1], [])
        await outbox.store_command(Command(command_id="c", received_at=clock.now(), body=b"", properties={}))
        clock.jump(PAST - clock.wall)
        clock.advance(timedelta(hours=72))
        assert await prune_all(outbox, clock) == 1
        clock.jump(timedelta(days=-3))
        clock.advance(timedelta(days=30))
        assert await prune_all(outbox, clock) == 2  # the id, and the command
        assert await outbox.recall("device-1", "a", A) is None


async def test_the_longest_delivered_go_first_whatever_the_wall_clock_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.outbox.pruning.PRUNE_ROWS", 1)
    clock = StillClock()
    async with opened(tmp_path, settings=OutboxSettings(rows_max=10), clock=clock) as outbox:
        for n in range(10):
            await commit(outbox, clock, f"s-{n}", payload_sha256=A)
            await outbox.mark_delivered([n + 1], [])
            clock.jump(timedelta(days=-1))
            clock.advance(timedelta(seconds=1))
        await commit(outbox, clock, "one more")
        gone = rows(tmp_path, "SELECT submission_id FROM remembered_ids")
    assert gone == [("s-0",)]


async def test_deliveries_are_forgotten_by_age_whatever_the_wall_clock_said(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        for n in range(3):
            delivery = Delivery(key=f"k-{n}", repeated=False)
            await commit(outbox, clock, f"s-{n}", payload_sha256=A, delivery=delivery)
            clock.jump(timedelta(days=-100))
            clock.advance(timedelta(days=14))
        assert await prune_all(outbox, clock) == 1  # 42 days old; the others 28 and 14
        assert await outbox.recall_delivery("k-0", A) is None
        assert await outbox.recall_delivery("k-1", A) is not None
    assert DELIVERIES_KEPT_MAX > 1000


async def test_time_without_power_counts_between_two_synchronised_boots(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        await synchronise(outbox, clock)
        await commit(outbox, clock, "a", synced=True)
        await outbox.mark_delivered([1], [])
    true_now = clock.wall + timedelta(hours=80)
    clock.reboot(wall=PAST)
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        await commit(outbox, clock, "b")
        await outbox.mark_delivered([2], [])
        assert await prune_all(outbox, clock) == 0  # who knows how long it was off
        clock.jump(true_now - clock.wall)
        await synchronise(outbox, clock)
        assert await prune_all(outbox, clock) == 1
        assert await outbox.find_event("device-1", "b") is not None


# --- the age in the file ------------------------------------------------------------------------------


async def test_age_goes_on_over_restarts_and_starts_of_the_machine(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock=clock) as outbox:
        assert outbox.age.age_s() == 0
        clock.advance(timedelta(hours=5))
    clock.advance(timedelta(hours=1))
    async with opened(tmp_path, clock=clock) as outbox:
        assert outbox.age.age_s() == 6 * 3600
    clock.reboot(off=timedelta(days=9))
    async with opened(tmp_path, clock=clock) as outbox:
        assert outbox.age.age_s() == 6 * 3600 + 1


async def test_a_power_cut_costs_at_most_the_age_since_the_last_event(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path / "data", clock=clock) as outbox:
        clock.advance(timedelta(hours=5))
        await commit(outbox, clock, "a")
        clock.advance(timedelta(seconds=30))
        _copy(tmp_path / "data", tmp_path / "after the cut")
    clock.reboot()
    async with opened(tmp_path / "after the cut", clock=clock) as outbox:
        assert outbox.age.age_s() == 5 * 3600 + 1


async def test_without_events_a_power_cut_costs_at_most_the_slow_timer(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path / "data", clock=clock) as outbox:
        await commit(outbox, clock, "a")
        for _ in range(3):
            clock.advance(timedelta(seconds=KEEP_TIME_EVERY_S), seconds=KEEP_TIME_EVERY_S)
            await outbox.mark_delivered([], [])  # wakes the writer, as its own timer does
            while rows(tmp_path / "data", "SELECT MAX(last_boottime_s) FROM boots") != [(clock.boottime_s,)]:
                await outbox.mark_delivered([], [])
            await outbox.mark_delivered([], [])  # the row is seen before the writer has set its timer anew
        clock.advance(timedelta(seconds=KEEP_TIME_EVERY_S - 1))
        _copy(tmp_path / "data", tmp_path / "after the cut")
    clock.reboot()
    async with opened(tmp_path / "after the cut", clock=clock) as outbox:
        assert outbox.age.age_s() == 3 * KEEP_TIME_EVERY_S + 1
    assert KEEP_TIME_EVERY_S + PRUNE_EVERY_S <= 1000  # what DELIVERY states


async def test_a_file_from_before_counts_its_keeping_times_from_the_migration(tmp_path: Path) -> None:

    shutil.copy(OLD_FILE, tmp_path / "outbox.db")
    clock = StillClock()
    clock.boottime_s = 100 * 86_400.0  # the machine ran for long before
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        assert await prune_all(outbox, clock) == 0
        clock.advance(timedelta(hours=72))
        assert await prune_all(outbox, clock) == 1


async def test_starts_of_the_machine_are_bounded_in_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path, clock=StillClock()) as outbox:
        await outbox.commit([draft("a")])
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO boots (boot, boot_id, powered_before_s, last_boottime_s) VALUES (?, 'x', 0, 1)",
            [(n,) for n in range(2, BOOTS_KEPT_MAX + PRUNE_ROWS)],
        )
        connection.execute("COMMIT")
    clock = StillClock()
    clock.reboot()
    async with opened(tmp_path, clock=clock) as outbox:
        await outbox.commit([draft("b")])
    assert rows(tmp_path, "SELECT COUNT(*) FROM boots") == [(BOOTS_KEPT_MAX,)]


async def test_an_idle_restart_in_the_same_boot_writes_no_start_again(tmp_path: Path) -> None:
    clock = StillClock()
    for _ in range(3):
        async with opened(tmp_path, clock=clock) as outbox:
            await outbox.prune_step(clock.now())
    assert rows(tmp_path, "SELECT boot, boot_id FROM boots") == [(1, "boot-1")]


def _copy(data_dir: Path, to: Path) -> None:
    """Copy the files as a power cut would leave them: what is in the WAL is all there is."""
    to.mkdir()
    for name in ("outbox.db", "outbox.db-wal"):
        (to / name).write_bytes((data_dir / name).read_bytes())
