"""What gives way when the outbox is full, or time is over; each is told by a tombstone and counted."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.errors import DiskUnavailable, OutboxFull
from gateway.messages import (
    Classification,
    CommandState,
    EventDraft,
    EventState,
    ModelIdentity,
    OutboxState,
    Prediction,
    Tombstone,
)
from gateway.outbox.ballast import BALLAST_NAME
from gateway.outbox.removal import EVICT_ROWS
from gateway.outbox.sqlite_outbox import SqliteOutbox
from gateway.outbox.tombstones import OTHER_LABELS, TOMBSTONE_LABELS_MAX
from gateway.outbox.writer import FIRST_PRUNE_S
from gateway.settings import OutboxSettings
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import StillClock, opened

KIB = 1024
BIG = '{"text":"' + "x" * 20_000 + '"}'
OLDEST = OutboxSettings(rows_max=20, when_full="evict_oldest")


def picture(submission_id: str, label: str) -> EventDraft:
    result = Classification(
        predictions=(Prediction(label=label, probability=0.9), Prediction(label="other", probability=0.1)),
        model=ModelIdentity(name="fruit", model_sha256="aa" * 32, labels_sha256="bb" * 32, runtime="litert"),
        image_format="JPEG",
        image_width=640,
        image_height=480,
        decode_ms=1,
        preprocess_ms=1,
        inference_ms=1,
    )
    return replace(draft(submission_id), result=result)


async def pending(outbox: SqliteOutbox) -> list[str]:
    found = [event for priority in range(10) for event in await outbox.pending(priority=priority, limit=1000)]
    return [event.item_id for event in sorted(found, key=lambda event: event.sequence)]


async def only_tombstone(outbox: SqliteOutbox) -> Tombstone:
    (tombstone,) = await outbox.pending_tombstones(limit=100)
    return tombstone


def accounted(state: OutboxState) -> int:
    totals = state.delivered_total + state.evicted_total + state.expired_total
    return state.pending + state.dead + totals + state.filtered_total + state.summarised_total


# --- evicting -----------------------------------------------------------------------------------------


async def test_the_oldest_make_room_and_a_tombstone_says_which(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=OLDEST) as outbox:
        for n in range(21):
            await outbox.commit([picture(f"a-{n}", "ripe" if n % 2 else "unripe")])
        tombstone, state = await only_tombstone(outbox), await outbox.state()
        assert (tombstone.first_sequence, tombstone.last_sequence) == (1, EVICT_ROWS)
        assert (tombstone.reason, tombstone.labels) == ("evicted", {"ripe": 8, "unripe": 8})
        assert await pending(outbox) == [f"a-{n}" for n in range(EVICT_ROWS, 21)]
        assert (state.evicted_total, accounted(state)) == (EVICT_ROWS, 21)


async def test_what_the_cloud_has_goes_before_what_it_has_not(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=OLDEST) as outbox:
        for n in range(20):
            await outbox.commit([draft(f"a-{n}")])
        await outbox.mark_delivered([19, 20], [])
        await outbox.commit([draft("new")])
        assert (await outbox.state()).evicted_total == 0


async def test_the_lowest_priority_makes_room_first_and_the_oldest_of_it(tmp_path: Path) -> None:
    settings = OutboxSettings(rows_max=20, when_full="evict_lowest_priority")
    async with opened(tmp_path, settings=settings) as outbox:
        for n in range(20):
            await outbox.commit([draft(f"a-{n}", priority=0 if n < 3 else 9)])
        await outbox.commit([draft("new", priority=9)])
        assert await pending(outbox) == ["a-0", "a-1", "a-2", "a-19", "new"]


async def test_dead_letters_are_never_pushed_out(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=OLDEST) as outbox:
        for n in range(20):
            await outbox.commit([draft(f"a-{n}")])
            await outbox.mark_dead(n + 1, "too_large")
        with pytest.raises(OutboxFull):
            await outbox.commit([draft("new")])
        assert (await outbox.state()).dead == 20


async def test_an_array_that_never_fits_pushes_nothing_out(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=OLDEST) as outbox:
        await outbox.commit([draft("a")])
        with pytest.raises(OutboxFull):
            await outbox.commit([draft("array", item=n) for n in range(21)])
        assert await pending(outbox) == ["a"]


async def test_the_file_stays_below_its_bytes_for_ever_and_every_sequence_is_accounted_for(tmp_path: Path) -> None:
    settings = OutboxSettings(bytes_max=1024 * KIB, when_full="evict_oldest")
    async with opened(tmp_path, settings=settings) as outbox:
        for n in range(150):
            await outbox.commit([draft(f"a-{n}", values_json=BIG)])
        state, tombstone = await outbox.state(), await only_tombstone(outbox)
        assert accounted(state) == state.sequence_high == 150
        assert (tombstone.first_sequence, tombstone.last_sequence) == (1, state.evicted_total)
    assert (tmp_path / "outbox.db").stat().st_size <= 1024 * KIB


async def test_a_redelivery_of_what_was_pushed_out_is_recognised(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=OLDEST) as outbox:
        first = await outbox.commit([draft("a-0")])
        for n in range(1, 21):
            await outbox.commit([draft(f"a-{n}")])
        again = await outbox.commit([draft("a-0")])
        assert (again.duplicate, again.items) == (True, first.items)


async def test_an_acknowledgement_of_what_was_pushed_out_meanwhile_counts_nothing_twice(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=OLDEST) as outbox:
        for n in range(21):
            await outbox.commit([draft(f"a-{n}")])
        await outbox.mark_delivered([1, 2, 20], [])
        state = await outbox.state()
        assert (state.delivered_total, accounted(state)) == (1, 21)


# --- time to live -------------------------------------------------------------------------------------


async def test_what_waited_longer_than_it_may_expires_and_nothing_else(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock=clock) as outbox:
        await outbox.commit([draft("hour", ttl_s=3600)])
        await outbox.commit([draft("day", ttl_s=86_400)])
        await outbox.commit([draft("for-ever")])
        clock.advance(timedelta(hours=2))
        while await outbox.prune_step(clock.now()):
            pass
        assert await pending(outbox) == ["day", "for-ever"]
        assert (await only_tombstone(outbox)).reason == "expired"
        state = await outbox.state()
        assert (state.expired_total, accounted(state)) == (1, 3)


async def test_what_outlived_its_time_while_nobody_ran_goes_soon_after_the_start(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock=clock) as outbox:
        await outbox.commit([draft("hour", ttl_s=3600)])
    clock.advance(timedelta(hours=2))
    async with opened(tmp_path, clock=clock) as outbox:
        clock.advance(timedelta(), seconds=FIRST_PRUNE_S)
        await outbox.commit([draft("next")])
        await outbox.settle_command("no such command", CommandState.TOLD, "")  # so that the writer has looked
        assert await pending(outbox) == ["next"]


async def test_a_wall_clock_that_jumps_expires_nothing(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock=clock) as outbox:
        await outbox.commit([draft("hour", ttl_s=3600)])
        clock.jump(timedelta(days=400))
        assert await outbox.prune_step(clock.now()) == 0
        assert await pending(outbox) == ["hour"]


# --- held back ----------------------------------------------------------------------------------------


async def test_what_is_held_back_is_stored_answered_and_told_but_never_pending(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        receipt = await outbox.commit([replace(picture("a-0", "ripe"), fate=EventState.FILTERED)])
        await outbox.commit([replace(picture("a-1", "unripe"), fate=EventState.SUMMARISED)])
        event = await outbox.find_event("device-1", "a-0")
        tombstone, state = await only_tombstone(outbox), await outbox.state()
        assert receipt.sequence == 1
        assert event is not None
        assert event.state is EventState.FILTERED
        assert await pending(outbox) == []
        assert (tombstone.reason, tombstone.reason_counts) == ("mixed", {"filtered": 1, "summarised": 1})
        assert tombstone.labels == {"ripe": 1, "unripe": 1}
        assert (state.held_back, accounted(state)) == (2, 2)


async def test_a_tombstone_tells_only_so_many_labels_apart_and_counts_the_rest(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        labels = [f"label-{n}" for n in range(TOMBSTONE_LABELS_MAX + 20)]
        for n, label in enumerate(labels):
            await outbox.commit([replace(picture(f"a-{n}", label), fate=EventState.FILTERED)])
        told = (await only_tombstone(outbox)).labels
        assert len(told) == TOMBSTONE_LABELS_MAX
        assert sum(told.values()) == len(labels)
        assert told[OTHER_LABELS] == 21


# --- ballast ------------------------------------------------------------------------------------------


def fill_up(path: Path) -> None:
    """Take the last byte of the disk."""
    with path.open("wb", buffering=0) as file:
        for size in (64 * KIB, KIB, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


async def test_on_a_disk_that_others_filled_the_ballast_lets_marks_and_deletes_go_on(small_disk: Path) -> None:
    data_dir = small_disk / "data"
    settings = OutboxSettings(ballast_bytes=1024 * KIB)
    async with opened(data_dir, settings=settings) as outbox:
        for n in range(10):
            await outbox.commit([draft(f"a-{n}")])
        assert (data_dir / BALLAST_NAME).stat().st_size == 1024 * KIB
        fill_up(small_disk / "of-others")
        await _refused(outbox)
        await outbox.mark_delivered(range(1, 11), [])
        for n in range(500):  # far more than the room that the ballast gave: events may not take it
            with pytest.raises(DiskUnavailable):
                await outbox.commit([draft(f"late-{n}", values_json=BIG)])
        await outbox.mark_dead(999, "x")
        assert (await outbox.state()).delivered == 10
        (small_disk / "of-others").unlink()
        await outbox.commit([draft("after")])
        assert (data_dir / BALLAST_NAME).stat().st_size == 1024 * KIB


async def _refused(outbox: SqliteOutbox) -> None:
    """Commit until the room that SQLite had taken before is used up."""
    async with asyncio.timeout(20):
        for n in range(1000):
            try:
                await outbox.commit([draft(f"fill-{n}", values_json=BIG)])
            except DiskUnavailable:
                return
    raise AssertionError("a full disk took everything")


async def test_no_ballast_is_made_where_it_would_fill_the_disk(small_disk: Path) -> None:
    async with opened(small_disk / "data", settings=OutboxSettings(ballast_bytes=2048 * KIB)) as outbox:
        await outbox.commit([draft("a")])
    assert not (small_disk / "data" / BALLAST_NAME).exists()
