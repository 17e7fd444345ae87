"""Delivered events go after their time, ids outlive them, and nothing that the cloud lacks is touched."""

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.errors import OutboxFull
from gateway.messages import Command
from gateway.outbox import pruning
from gateway.outbox.inspection import read_state
from gateway.outbox.pruning import COMMANDS_KEPT_MAX, PRUNE_ROWS
from gateway.outbox.sqlite_outbox import SqliteOutbox
from gateway.outbox.writer import PRUNE_EVERY_S
from gateway.settings import OutboxSettings
from tests.fakes.outbox import SOME_TIME, draft
from tests.fakes.outbox_parts import KeptMeter, StillClock, opened

KEPT = OutboxSettings(delivered_keep_h=72, id_keep_days=30)
A, B = "aa" * 32, "bb" * 32


async def fill(outbox: SqliteOutbox, count: int, *, delivered: int = 0) -> None:
    for first in range(0, count, 100):
        await outbox.commit([draft(f"s-{first}", item=n, payload_sha256=A) for n in range(min(100, count - first))])
    await outbox.mark_delivered(range(1, delivered + 1), [])


async def prune_all(outbox: SqliteOutbox, clock: StillClock) -> list[int]:
    steps = []
    while step := await outbox.prune_step(clock.now()):
        steps.append(step)
    return steps


async def test_delivered_events_stay_for_their_time(tmp_path: Path) -> None:
    clock, meter = StillClock(), KeptMeter()
    async with opened(tmp_path, settings=KEPT, clock=clock, meter=meter) as outbox:
        await fill(outbox, 3, delivered=2)
        clock.advance(timedelta(hours=71))
        assert await prune_all(outbox, clock) == []
        clock.advance(timedelta(hours=1))
        assert await prune_all(outbox, clock) == [2]
        state = await outbox.state()
        assert (state.pending, state.delivered, state.sequence_high) == (1, 0, 3)
        assert await outbox.find_event("device-1", "s-0/0") is None
        assert meter.counts["gateway_outbox_pruned_total"] == 2


async def test_pending_and_dead_events_are_never_pruned(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        await fill(outbox, 3)
        await outbox.mark_dead(2, "x")
        clock.advance(timedelta(days=3650))
        assert await prune_all(outbox, clock) == []
        state = await outbox.state()
        assert (state.pending, state.dead, state.tombstones_pending) == (2, 1, 1)


async def test_a_pruned_events_redelivery_gets_the_first_receipt(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        first = await outbox.commit([draft("a", item=n, payload_sha256=A, values_json=f"[{n}]") for n in range(3)])
        await outbox.mark_delivered([1, 3], [])
        clock.advance(timedelta(hours=72))
        await prune_all(outbox, clock)
        again = await outbox.commit([draft("a", payload_sha256=A)])
        recalled = await outbox.recall("device-1", "a", A)
    assert recalled == again
    assert (again.duplicate, again.items) == (True, first.items)


async def test_a_pruned_id_still_tells_other_bytes(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        await outbox.commit([draft("a", payload_sha256=A)])
        await outbox.mark_delivered([1], [])
        clock.advance(timedelta(hours=72))
        await prune_all(outbox, clock)
        receipt = await outbox.commit([draft("a", payload_sha256=B)])
    assert (receipt.duplicate, receipt.items[0].id_reused, receipt.sequence) == (False, True, 2)


async def test_ids_are_forgotten_after_their_time(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        await outbox.commit([draft("a", payload_sha256=A)])
        await outbox.mark_delivered([1], [])
        clock.advance(timedelta(hours=72))
        await prune_all(outbox, clock)
        clock.advance(timedelta(days=29, hours=23))
        assert await prune_all(outbox, clock) == []
        clock.advance(timedelta(hours=1))
        assert await prune_all(outbox, clock) == [1]
        receipt = await outbox.commit([draft("a", payload_sha256=A)])
    assert (receipt.duplicate, receipt.sequence) == (False, 2)


async def test_a_step_is_bounded(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        await fill(outbox, PRUNE_ROWS * 2 + 5, delivered=PRUNE_ROWS * 2 + 5)
        clock.advance(timedelta(hours=72))
        assert await prune_all(outbox, clock) == [PRUNE_ROWS, PRUNE_ROWS, 5]


async def test_the_writer_prunes_by_itself_when_it_is_time(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        await fill(outbox, 2, delivered=2)
        clock.advance(timedelta(hours=72), seconds=PRUNE_EVERY_S)
        await outbox.commit([draft("next")])
        assert (await outbox.prune_step(clock.now()), (await outbox.state()).delivered) == (0, 0)


async def test_delivered_events_make_room_before_a_device_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=OutboxSettings(rows_max=10)) as outbox:
        await fill(outbox, 10, delivered=4)
        for n in range(4):
            await outbox.commit([draft(f"more-{n}")])
        with pytest.raises(OutboxFull, match="10 of 10 rows"):
            await outbox.commit([draft("too-many")])
        assert (await outbox.commit([draft("s-0", payload_sha256=A)])).duplicate


async def test_remembered_ids_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "IDS_KEPT_MIN", 0)
    clock = StillClock()
    async with opened(tmp_path, settings=OutboxSettings(rows_max=10, delivered_keep_h=1), clock=clock) as outbox:
        for n in range(5):
            await outbox.commit([draft(f"s-{n}", item=i, payload_sha256=A) for i in range(10)])
            await outbox.mark_delivered(range(1, 51), [])
        clock.advance(timedelta(hours=1))
        await prune_all(outbox, clock)
        assert outbox._store.ledger.remembered == 10


async def test_in_a_small_file_too_what_was_just_pushed_out_is_recognised(tmp_path: Path) -> None:
    clock = StillClock()
    settings = OutboxSettings(rows_max=10, when_full="evict_oldest")
    async with opened(tmp_path, settings=settings, clock=clock) as outbox:
        for n in range(40):
            await outbox.commit([draft(f"s-{n}", payload_sha256=A)])
        await prune_all(outbox, clock)
        assert [(await outbox.commit([draft(f"s-{n}", payload_sha256=A)])).sequence for n in range(20)] == [
            *range(1, 21)
        ]


async def test_old_commands_go_and_their_number_is_bounded(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, settings=KEPT, clock=clock) as outbox:
        for n in range(3):
            await outbox.store_command(Command(command_id=f"c-{n}", received_at=SOME_TIME, body=b"", properties={}))
        assert await prune_all(outbox, clock) == []
        clock.advance(timedelta(days=30))
        assert await prune_all(outbox, clock) == [3]
    assert COMMANDS_KEPT_MAX >= 1000


async def test_the_file_shrinks_in_steps_when_much_of_it_is_free(tmp_path: Path) -> None:
    clock = StillClock()
    settings = OutboxSettings(delivered_keep_h=1, id_keep_days=0)
    big = '{"text":"' + "x" * 4000 + '"}'
    async with opened(tmp_path, settings=settings, clock=clock) as outbox:
        await outbox.commit([draft("a", item=n, values_json=big) for n in range(2500)])
        await outbox.mark_delivered(range(1, 2501), [])
        full = read_state(tmp_path).bytes_used
        clock.advance(timedelta(hours=2))
        await prune_all(outbox, clock)
        while outbox._store.ledger.bytes_free > 5 * 1024 * 1024:
            clock.advance(timedelta(), seconds=PRUNE_EVERY_S)
            await outbox.commit([draft(f"tick-{clock.seconds}")])
    assert (tmp_path / "outbox.db").stat().st_size < full / 1.5
