"""A damaged file: set aside whole, what is readable taken over under its own epoch and sequence, the rest told."""

import asyncio
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.errors import OperatorError, OutboxDamaged, OutboxUnusable, Stopping
from gateway.messages import Command, EventState, OutboxState, PendingEvent, Receipt
from gateway.outbox import opening, recovery
from gateway.outbox.damage import EPOCH_NAME, NOTE_NAME, DamageNote, write_note
from gateway.outbox.inspection import event_name, keys_of, list_events, requeue_offline, show_event
from gateway.outbox.page_source import FRAME_BYTES
from gateway.outbox.pages import PAGE_BYTES
from gateway.outbox.schema import load_migrations
from gateway.outbox.sqlite_outbox import SqliteOutbox
from tests.fakes.outbox import SOME_TIME, draft
from tests.fakes.outbox_damage import pages_of, root_of, spoil
from tests.fakes.outbox_parts import KeptMeter, StillClock, opened

OLD_FILES = Path(__file__).resolve().parents[2] / "data" / "outbox"
EVENTS = 300
Fill = Callable[..., list[Receipt]]
LONG = json.dumps({"t": 20.5, "note": "x" * 400})


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, list[Receipt]]]:
    """Return a site's file for each number of events, made once: making one is most of what a test here takes."""
    made = {}
    for events in (60, EVENTS, 1000):
        folder = tmp_path_factory.mktemp(f"events-{events}")
        made[events] = folder, asyncio.run(_fill(folder, events))
    return made


@pytest.fixture
def filled(templates: dict[int, tuple[Path, list[Receipt]]]) -> Fill:
    """Return what copies such a file and tells what devices were told."""

    def copy(data_dir: Path, *, events: int = EVENTS) -> list[Receipt]:
        folder, receipts = templates[events]
        data_dir.mkdir(exist_ok=True)
        for name in ("outbox.db", EPOCH_NAME):
            shutil.copy(folder / name, data_dir)
        return receipts

    return copy


async def _fill(data_dir: Path, events: int) -> list[Receipt]:
    """1-20 are pruned, 21-40 delivered, 50 is dead, the rest pending."""
    clock = StillClock()
    async with opened(data_dir, clock=clock) as outbox:

        async def commit(first: int, last: int) -> list[Receipt]:
            drafts = [draft(f"e-{n}", values_json=LONG) for n in range(first, last + 1)]
            return await asyncio.gather(*(outbox.commit([one]) for one in drafts))

        receipts = await commit(1, 20)
        await outbox.mark_delivered(range(1, 21), [])
        clock.advance(timedelta(hours=100))
        await outbox.prune_step(clock.now())
        receipts += await commit(21, events)
        await outbox.mark_delivered(range(21, 41), [])
        await outbox.mark_dead(50, "too_large")
        body = b'{"device_id": "d", "command": "photo"}'
        await outbox.store_command(Command(command_id="c-1", received_at=SOME_TIME, body=body, properties={}))
    return receipts


def adds_up(state: OutboxState) -> bool:
    totals = state.delivered_total + state.evicted_total + state.expired_total
    totals += state.filtered_total + state.summarised_total
    return state.sequence_high + state.taken_over == state.pending + state.dead + totals


async def everything(outbox: SqliteOutbox) -> list[PendingEvent]:
    return list(await outbox.pending(after_sequence=0, limit=10_000))


async def damaged_ranges(outbox: SqliteOutbox) -> list[tuple[str, int, int]]:
    told = await outbox.pending_tombstones(limit=10_000)
    return [(t.epoch, t.first_sequence, t.last_sequence) for t in told if t.reason == "damaged"]


def covered(tombstones: Sequence[tuple[str, int, int]]) -> set[int]:
    return {sequence for _, first, last in tombstones for sequence in range(first, last + 1)}


def aside(data_dir: Path) -> list[Path]:
    return sorted(data_dir.glob("outbox.damaged-*.db"))


async def test_a_bad_page_costs_what_was_on_it_and_the_cloud_is_told(tmp_path: Path, filled: Fill) -> None:
    receipts = filled(tmp_path)
    old = receipts[0].items[0].epoch
    file = tmp_path / "outbox.db"
    spoil(file, pages_of(file, "events", leaves=True)[-3])
    before = file.read_bytes()
    async with opened(tmp_path) as outbox:
        state = await outbox.state()
        assert state.epoch.predecessor == old
        assert state.epoch.predecessor_last_sequence == EVENTS
        assert state.sequence_high == 0
        assert adds_up(state)
        left = await everything(outbox)
        gone = covered(await damaged_ranges(outbox))
        assert {event.epoch for event in left} == {old}
        assert 0 < len(gone) < 12
        assert {event.sequence for event in left} | gone == {*range(41, 50), *range(51, EVENTS + 1)}
        assert not {event.sequence for event in left} & gone
        assert {epoch for epoch, _, _ in await damaged_ranges(outbox)} == {old}
        new = await outbox.commit([draft("new")])
        assert (new.items[0].epoch, new.sequence) == (state.epoch.epoch, 1)
        # Older epochs go first, and marks go by key.
        assert [event.sequence for event in (await everything(outbox))[-1:]] == [1]
        await outbox.mark_delivered([event.key for event in left], [])
        assert [event.item_id for event in await everything(outbox)] == ["new"]
    assert [path.read_bytes() for path in aside(tmp_path)] == [before]


async def test_a_device_whose_redelivery_meets_damage_is_told_to_come_again(tmp_path: Path, filled: Fill) -> None:
    receipts = filled(tmp_path)
    file = tmp_path / "outbox.db"
    async with opened(tmp_path) as outbox:
        for page in pages_of(file, "events", leaves=True):
            spoil(file, page)
        with pytest.raises(Stopping, match="damaged"):
            await asyncio.gather(*(outbox.recall("device-1", r.submission_id, "00" * 32) for r in receipts[40:]))
        with pytest.raises(OutboxDamaged):
            await outbox.failed()


async def test_people_name_events_of_each_epoch_apart(tmp_path: Path, filled: Fill) -> None:
    receipts = filled(tmp_path)
    old = receipts[0].items[0].epoch
    file = tmp_path / "outbox.db"
    spoil(file, pages_of(file, "events", leaves=True)[-3])
    async with opened(tmp_path) as outbox:
        for n in range(60):
            await outbox.commit([draft(f"new-{n}")])
        epoch = (await outbox.state()).epoch.epoch
    (dead,) = list_events(tmp_path, state=EventState.DEAD)
    name = event_name(dead, epoch)
    assert name == f"{old[:13]}/50"
    assert show_event(tmp_path, name) == dead
    assert show_event(tmp_path, "50").submission_id == "new-49"
    assert requeue_offline(tmp_path, keys_of(tmp_path, ["50"])) == 0
    assert requeue_offline(tmp_path, keys_of(tmp_path, [name])) == 1
    for wrong in (f"{old[:13]}/99999", f"{old[:8]}/50", "fifty"):
        with pytest.raises(OperatorError, match="names no event"):
            keys_of(tmp_path, [wrong])


async def test_devices_that_send_again_after_a_recovery_get_their_first_receipts(tmp_path: Path, filled: Fill) -> None:
    receipts = filled(tmp_path)
    file = tmp_path / "outbox.db"
    spoil(file, pages_of(file, "events", leaves=True)[-3])
    async with opened(tmp_path) as outbox:
        gone = covered(await damaged_ranges(outbox))
        for n, first in enumerate(receipts, 1):
            again = await outbox.commit([draft(f"e-{n}", values_json=LONG)])
            assert again.duplicate is (n not in gone)
            if again.duplicate:
                assert again.items == first.items


async def test_what_is_small_is_taken_over_whole(tmp_path: Path, filled: Fill) -> None:
    filled(tmp_path)
    file = tmp_path / "outbox.db"
    spoil(file, pages_of(file, "events", leaves=True)[-3])
    async with opened(tmp_path) as outbox:
        assert [command.command_id for command in await outbox.waiting_commands(limit=9)] == ["c-1"]
        dead = [t for t in await outbox.pending_tombstones(limit=9) if t.reason == "too_large"]
        assert [(t.first_sequence, t.last_sequence) for t in dead] == [(50, 50)]
        assert (await outbox.state()).dead == 1
        assert await outbox.requeue() == 1
        assert 50 in {event.sequence for event in await everything(outbox)}
        assert [boot.number for boot in outbox.book.boots] == [1, 2]  # the clock of the second opening stands earlier


@pytest.mark.parametrize("which", ["root", "above", "first page", "first page and schema"])
async def test_rows_are_found_though_nothing_leads_to_them(tmp_path: Path, filled: Fill, which: str) -> None:
    receipts = filled(tmp_path)
    file = tmp_path / "outbox.db"
    root, *_ = pages_of(file, "events", leaves=False)
    spoil(file, 1 if which.startswith("first") else root)
    if which == "first page and schema":
        spoil(file, 2)  # the pointer map, by which roots are found without the first page
    async with opened(tmp_path) as outbox:
        left = await everything(outbox)
        assert [event.sequence for event in left] == [*range(41, 50), *range(51, EVENTS + 1)]
        assert {event.epoch for event in left} == {receipts[0].items[0].epoch}
        assert (await outbox.state()).epoch.predecessor == receipts[0].items[0].epoch
        # Told again, since the tombstones may be out of reach: what the cloud has, or was told before.
        assert covered(await damaged_ranges(outbox)) <= {*range(1, 41), 50}


async def test_damage_of_an_index_costs_nothing(tmp_path: Path, filled: Fill) -> None:
    filled(tmp_path)
    file = tmp_path / "outbox.db"
    spoil(file, root_of(file, "events_by_submission"))
    async with opened(tmp_path) as outbox:
        with pytest.raises(Stopping):
            await outbox.commit([draft("met")])
        with pytest.raises(OutboxDamaged):
            await outbox.failed()
    async with opened(tmp_path) as outbox:
        assert len(await everything(outbox)) == EVENTS - 41
        assert await damaged_ranges(outbox) == []


async def test_a_file_that_was_cut_off_keeps_its_beginning(tmp_path: Path, filled: Fill) -> None:
    receipts = filled(tmp_path)
    file = tmp_path / "outbox.db"
    os.truncate(file, file.stat().st_size * 2 // 3)
    async with opened(tmp_path) as outbox:
        state = await outbox.state()
        assert state.epoch.predecessor == receipts[0].items[0].epoch
        assert state.epoch.predecessor_last_sequence == EVENTS
        left = {event.sequence for event in await everything(outbox)}
        assert len(left) > 50
        assert left | covered(await damaged_ranges(outbox)) >= {*range(41, 50), *range(51, EVENTS + 1)}


async def test_an_empty_file_is_a_new_epoch_that_names_the_old_one(tmp_path: Path, filled: Fill) -> None:
    receipts = filled(tmp_path)
    (tmp_path / "outbox.db").write_bytes(b"")
    async with opened(tmp_path) as outbox:
        state = await outbox.state()
        assert (state.epoch.predecessor, state.epoch.predecessor_last_sequence) == (receipts[0].items[0].epoch, None)
        assert (await outbox.commit([draft("new")])).sequence == 1
    assert [path.stat().st_size for path in aside(tmp_path)] == [0]


async def test_without_any_name_left_of_it_the_old_epoch_gets_one(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"")
    async with opened(tmp_path) as outbox:
        assert ((await outbox.state()).epoch.predecessor or "").startswith("unknown-")


def wal_of(file: Path) -> int:
    return Path(f"{file}-wal").stat().st_size


def contents(data_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data_dir.iterdir() if path.name.startswith("outbox.db")}


def copy_while_open(data_dir: Path, copy: Path, *suffixes: str) -> None:
    copy.mkdir()
    for suffix in suffixes:
        shutil.copy(data_dir / f"outbox.db{suffix}", copy)


async def test_a_file_copied_without_its_wal_goes_on_in_a_new_epoch(tmp_path: Path, filled: Fill) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy"
    filled(data_dir, events=60)
    async with opened(data_dir) as outbox:
        receipt = await outbox.commit([draft("in-the-wal")])
        copy_while_open(data_dir, copy, "")
    async with opened(copy) as outbox:
        state = await outbox.state()
        assert (state.epoch.predecessor, state.epoch.predecessor_last_sequence) == (receipt.items[0].epoch, 60)
        again = await outbox.commit([draft("in-the-wal")])
        assert (again.items[0].epoch, again.sequence) == (state.epoch.epoch, 1)
        assert adds_up(await outbox.state())
        assert {event.epoch for event in (await everything(outbox))[:-1]} == {receipt.items[0].epoch}
    async with opened(copy) as outbox:
        assert (await outbox.state()).epoch == state.epoch
    assert not aside(copy)


@pytest.mark.parametrize("suffixes", [("", "-wal"), ("",)])
async def test_a_file_that_was_closed_needs_no_wal(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy"
    async with opened(data_dir) as outbox:
        receipt = await outbox.commit([draft("a")])
        if len(suffixes) > 1:
            copy_while_open(data_dir, copy, *suffixes)
    if len(suffixes) == 1:
        copy_while_open(data_dir, copy, *suffixes)
    async with opened(copy) as outbox:
        assert (await outbox.state()).epoch.epoch == receipt.items[0].epoch
        assert len(await everything(outbox)) == 1


async def test_a_wal_whose_file_is_gone_gives_up_what_is_in_it(tmp_path: Path) -> None:
    data_dir, copy = tmp_path / "data", tmp_path / "copy"
    async with opened(data_dir) as outbox:
        receipts = [await outbox.commit([draft(f"e-{n}")]) for n in range(30)]
        copy_while_open(data_dir, copy, "-wal")
    async with opened(copy) as outbox:
        left = await everything(outbox)
        assert {event.item_id for event in left} <= {receipt.submission_id for receipt in receipts}
        assert len(left) == 30
    assert wal_of(aside(copy)[0]) > 0


async def wal_copy(tmp_path: Path, commits: int) -> tuple[Path, list[Receipt]]:
    data_dir, copy = tmp_path / "data", tmp_path / "copy"
    async with opened(data_dir) as outbox:
        receipts = [await outbox.commit([draft(f"e-{n}")]) for n in range(commits)]
        copy_while_open(data_dir, copy, "", "-wal")
    return copy, receipts


async def test_a_torn_end_of_the_wal_costs_its_last_commit_at_most(tmp_path: Path) -> None:
    copy, receipts = await wal_copy(tmp_path, 20)
    wal = copy / "outbox.db-wal"
    os.truncate(wal, wal.stat().st_size - 100)
    async with opened(copy) as outbox:
        assert (await outbox.state()).epoch.epoch == receipts[0].items[0].epoch
        assert len(await everything(outbox)) == 19
    assert not aside(copy)


async def test_damage_within_the_wal_does_not_cost_what_was_synced_after_it(tmp_path: Path) -> None:
    copy, receipts = await wal_copy(tmp_path, 20)
    wal = copy / "outbox.db-wal"
    frames = (wal.stat().st_size - 32) // FRAME_BYTES
    with wal.open("r+b") as file:
        file.seek(32 + frames // 2 * FRAME_BYTES + 1000)
        file.write(b"\xff" * 50)
    async with opened(copy) as outbox:
        state = await outbox.state()
        assert state.epoch.predecessor == receipts[0].items[0].epoch
        told = {event.sequence for event in await everything(outbox)} | covered(await damaged_ranges(outbox))
        assert told == set(range(1, 21))
        assert 20 in {event.sequence for event in await everything(outbox)}


@pytest.mark.parametrize("page", [None, 1, 3])
async def test_a_file_of_a_newer_version_is_never_touched_damaged_or_not(
    tmp_path: Path, filled: Fill, page: int | None
) -> None:
    filled(tmp_path, events=60)
    file = tmp_path / "outbox.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")
    if page is not None:
        spoil(file, page, at=100, length=3900)
    before = contents(tmp_path)
    with pytest.raises(OutboxUnusable, match=r"newer version of the gateway \(schema 99"):
        async with opened(tmp_path):
            pass
    assert contents(tmp_path) == before
    assert not aside(tmp_path)


@pytest.mark.parametrize("step", ["write_note", "set_aside", "_begin_anew", "remove_note"])
@pytest.mark.parametrize("before", [True, False])
async def test_a_crash_in_the_middle_of_a_recovery_changes_nothing(
    tmp_path: Path, filled: Fill, monkeypatch: pytest.MonkeyPatch, step: str, *, before: bool
) -> None:
    receipts = filled(tmp_path, events=60)
    file = tmp_path / "outbox.db"
    spoil(file, pages_of(file, "events", leaves=True)[-2])
    real = getattr(recovery, step)

    def dies(*args: object, **kwargs: object) -> None:
        if not before:
            real(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recovery, step, dies)
        with pytest.raises(KeyboardInterrupt):
            async with opened(tmp_path):
                pass
    async with opened(tmp_path) as outbox:
        left = {event.sequence for event in await everything(outbox)}
        assert left | covered(await damaged_ranges(outbox)) == {*range(41, 50), *range(51, 61)}
        assert (await outbox.state()).epoch.predecessor == receipts[0].items[0].epoch
    assert len(aside(tmp_path)) == 1
    assert not (tmp_path / NOTE_NAME).exists()


async def test_a_large_file_is_salvaged_behind_the_start_and_over_restarts(
    tmp_path: Path, filled: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, events=1000)
    file = tmp_path / "outbox.db"
    spoil(file, pages_of(file, "events", leaves=True)[-3])
    monkeypatch.setattr(opening, "SALVAGE_AT_ONCE_S", -1.0)  # one step at each start
    meter = KeptMeter()
    async with opened(tmp_path) as outbox:
        first = {event.sequence for event in await everything(outbox)}
        assert 0 < len(first) < 300
        assert 1000 in first  # the newest first: those are what a device may send again
        assert (await outbox.commit([draft("new")])).sequence == 1
    async with opened(tmp_path, meter=meter) as outbox:
        second = {event.sequence for event in await everything(outbox)}
        assert len(second) > len(first)
        await outbox.salvage()
        left = {event.sequence for event in (await everything(outbox))[:-1]}
        assert left | covered(await damaged_ranges(outbox)) == {*range(41, 50), *range(51, 1001)}
        (salvage,) = outbox.set_aside
        assert salvage.stage == "done"
        await outbox.state()
        assert meter.levels["gateway_outbox_damaged_sequences",] == salvage.damaged > 0
        state = await outbox.state()
        assert state.pending == len(left) + 1
    async with opened(tmp_path) as outbox:
        await outbox.salvage()  # nothing is left to do
        assert (await outbox.state()).pending == len(left) + 1


async def test_damage_while_the_last_one_is_not_salvaged_yet_loses_neither(
    tmp_path: Path, filled: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipts = filled(tmp_path, events=1000)
    file = tmp_path / "outbox.db"
    spoil(file, pages_of(file, "events", leaves=True)[-3])
    with monkeypatch.context() as patch:
        patch.setattr(opening, "SALVAGE_AT_ONCE_S", -1.0)
        async with opened(tmp_path) as outbox:
            second = [await outbox.commit([draft(f"second-{n}", values_json=LONG)]) for n in range(50)]
    spoil(file, pages_of(file, "events", leaves=True)[-2])
    async with opened(tmp_path) as outbox:
        assert {salvage.stage for salvage in outbox.set_aside} == {"done"}
        assert len(outbox.set_aside) == 2
        by_epoch: dict[str, set[int]] = {}
        for event in await everything(outbox):
            by_epoch.setdefault(event.epoch, set()).add(event.sequence)
        for epoch, first, last in await damaged_ranges(outbox):
            by_epoch.setdefault(epoch, set()).update(range(first, last + 1))
        assert by_epoch[receipts[0].items[0].epoch] == {*range(41, 50), *range(51, 1001)}
        assert by_epoch[second[0].items[0].epoch] == set(range(1, 51))


async def test_damage_met_while_running_is_recovered_at_the_next_start_with_all_that_was_known(
    tmp_path: Path, filled: Fill
) -> None:
    receipts = filled(tmp_path)
    file = tmp_path / "outbox.db"
    async with opened(tmp_path) as outbox:
        last = await outbox.commit([draft("last")])
        spoil(file, root_of(file, "events_by_submission"))
        spoil(file, root_of(file, "ledger"))
        outbox._store._discard(sqlite3.DatabaseError())  # as if the pages had left SQLite's memory
        outbox._store._connection = None
        with pytest.raises(Stopping):
            await outbox.commit([draft("met")])
        with pytest.raises(OutboxDamaged):
            await outbox.failed()
    assert (tmp_path / NOTE_NAME).exists()
    async with opened(tmp_path) as outbox:
        state = await outbox.state()
        assert (state.epoch.predecessor, state.epoch.predecessor_last_sequence) == (
            receipts[0].items[0].epoch,
            last.sequence,
        )
        assert "last" in {event.item_id for event in await everything(outbox)}


async def test_a_note_of_damage_is_obeyed_though_the_file_opens(tmp_path: Path, filled: Fill) -> None:
    filled(tmp_path, events=60)
    write_note(tmp_path, DamageNote(why="row 7 of events makes no sense"))
    async with opened(tmp_path) as outbox:
        assert [salvage.why for salvage in outbox.set_aside] == ["row 7 of events makes no sense"]
        assert len(await everything(outbox)) == 19


async def test_a_damaged_file_of_an_older_version_is_salvaged_too(tmp_path: Path) -> None:
    for version in range(1, len(load_migrations()) + 1):
        folder = tmp_path / str(version)
        folder.mkdir()
        shutil.copy(OLD_FILES / f"outbox-v{version}.db", folder / "outbox.db")
        spoil(folder / "outbox.db", root_of(folder / "outbox.db", "refusals"))
        async with opened(folder) as outbox:
            assert [event.item_id for event in await everything(outbox)] == ["old-pending/0"]
            assert (await outbox.state()).dead == 1
            assert (await outbox.commit([draft("old-pruned", payload_sha256="cc" * 32)])).duplicate
            assert aside(folder)


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_was_damaged_every_sequence_is_there_or_told_and_none_is_made_up(
    tmp_path: Path, filled: Fill, seed: int
) -> None:
    rng = random.Random(seed)
    receipts = filled(tmp_path, events=EVENTS)
    file = tmp_path / "outbox.db"
    for _ in range(rng.randrange(1, 4)):
        number = rng.randrange(1, file.stat().st_size // PAGE_BYTES + 1)
        at = rng.choice((0, rng.randrange(PAGE_BYTES - 512)))
        noise = rng.choice((bytes(PAGE_BYTES), rng.randbytes(PAGE_BYTES)))
        spoil(file, number, noise=noise, at=at, length=rng.choice((512, PAGE_BYTES - at)))
    write_note(tmp_path, DamageNote(why="the test says so"))
    async with opened(tmp_path) as outbox:
        left = await everything(outbox)
        told: set[int] = set()
        for tombstone in await outbox.pending_tombstones(limit=1000):
            told |= set(range(tombstone.first_sequence, tombstone.last_sequence + 1))
        assert {event.sequence for event in left} | told >= {*range(41, EVENTS + 1)}
        first = {receipt.sequence: receipt for receipt in receipts}
        for event in left:
            assert event.item_id == first[event.sequence].submission_id
            assert event.epoch == first[event.sequence].items[0].epoch


async def test_the_epoch_is_noted_beside_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        state = await outbox.state()
    noted = json.loads((tmp_path / EPOCH_NAME).read_text())
    assert [epoch["epoch"] for epoch in noted["epochs"]] == [state.epoch.epoch]


async def test_keys_that_no_epoch_ever_gave_are_told_to_nobody(tmp_path: Path, filled: Fill) -> None:
    filled(tmp_path)
    file = tmp_path / "outbox.db"
    for spoiled in ("ledger", "events"):  # without a ledger the next epoch begins far above; then the root goes
        spoil(file, root_of(file, spoiled))
        async with opened(tmp_path) as outbox:
            await outbox.commit([draft(f"after-{spoiled}")])
            assert sum(last - first + 1 for _, first, last in await damaged_ranges(outbox)) < EVENTS
            assert len(await everything(outbox)) >= EVENTS - 41
