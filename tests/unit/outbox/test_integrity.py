"""The whole file is read in slices beside the writer; what is bad ends the gateway, and the next start recovers."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import OutboxDamaged
from gateway.outbox import integrity
from gateway.outbox.damage import read_note
from gateway.outbox.schema import load_migrations
from gateway.outbox.sqlite_outbox import SqliteOutbox
from gateway.outbox.walks import walks
from tests.fakes.outbox import draft
from tests.fakes.outbox_damage import pages_of, spoil
from tests.fakes.outbox_parts import KeptMeter, opened

ROWS = 450
# Of the tables epochs, ledger and boots.
HOUSEKEEPING_ROWS = 3


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    async with opened(tmp_path) as outbox:
        await asyncio.gather(*(outbox.commit([draft(f"e-{n}")]) for n in range(ROWS)))
    return tmp_path


def a_leaf(file: Path) -> None:
    spoil(file, pages_of(file, "events", leaves=True)[3])


def an_index(file: Path) -> None:
    spoil(file, pages_of(file, "events_by_submission", leaves=True)[2])


def an_entry(file: Path) -> None:
    """Take one row out of an index alone: SQLite itself would never notice."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        sql = "SELECT sql FROM sqlite_schema WHERE name = 'events_by_submission'"
        (before,) = connection.execute(sql).fetchone()
        change = "UPDATE sqlite_schema SET sql = ? WHERE name = 'events_by_submission'"
        connection.execute(change, (before + " WHERE sequence <> 300",))
        connection.execute("PRAGMA writable_schema = RESET")
        connection.execute("REINDEX events_by_submission")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(change, (before,))
        connection.execute("PRAGMA writable_schema = RESET")


def a_text(file: Path) -> None:
    """Break one result: the page stays sound for SQLite."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE events SET result = '{\"t\": 20' WHERE sequence = 300")


async def test_a_sound_file_is_read_through_and_counted(data_dir: Path) -> None:
    meter = KeptMeter()
    async with opened(data_dir, meter=meter) as outbox:
        await outbox.checker.round()
        assert (outbox.checker.state.rounds, outbox.checker.state.rows) == (1, ROWS + HOUSEKEEPING_ROWS)
        assert outbox.checker.state.sound_at is not None
    assert meter.counts["gateway_outbox_checks_total"] == 1
    assert meter.levels["gateway_outbox_check_rows",] == ROWS + HOUSEKEEPING_ROWS


@pytest.mark.parametrize("damage", [a_leaf, an_index, an_entry, a_text])
async def test_what_is_bad_in_the_middle_is_found_noted_and_recovered(
    data_dir: Path, damage: Callable[[Path], None]
) -> None:
    damage(data_dir / "outbox.db")
    async with opened(data_dir) as outbox:  # the look at its opening does not go so far
        check = asyncio.create_task(outbox.checker.run())
        with pytest.raises(OutboxDamaged):
            await outbox.failed()
        await check
    note = read_note(data_dir)
    assert note is not None
    assert note.key_high == ROWS
    async with opened(data_dir) as outbox:
        left = {event.sequence for event in await outbox.pending(limit=1000)}
        for tombstone in await outbox.pending_tombstones(limit=100):
            left |= set(range(tombstone.first_sequence, tombstone.last_sequence + 1))
        assert left == set(range(1, ROWS + 1))
        await outbox.checker.round()


async def test_commits_go_on_between_slices_and_the_wal_does_not_grow(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "SLICE_ROWS", 5)
    async with opened(data_dir) as outbox:
        check = asyncio.create_task(outbox.checker.round())
        committed = 0
        while not check.done():
            await outbox.commit([draft(f"meanwhile-{committed}", values_json='{"x":"' + "y" * 5000 + '"}')])
            committed += 1
        await check
        assert committed > 20
        wal_bytes = wal_of(data_dir)
        assert wal_bytes < 8 * 1024 * 1024
        assert ROWS <= outbox.checker.state.rows < ROWS + committed  # what came in meanwhile is for the next round


def wal_of(data_dir: Path) -> int:
    return (data_dir / "outbox.db-wal").stat().st_size


async def test_a_disk_that_can_not_be_read_now_is_asked_again(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity, "READ_RETRY_S", 0.01)
    async with opened(data_dir) as outbox:
        check = asyncio.create_task(_round_without_file(outbox, data_dir))
        await check
        assert outbox.checker.state.rounds == 1


async def _round_without_file(outbox: SqliteOutbox, data_dir: Path) -> None:
    (data_dir / "outbox.db").rename(data_dir / "elsewhere")
    check = asyncio.create_task(outbox.checker.round())
    await asyncio.sleep(0.05)
    (data_dir / "elsewhere").rename(data_dir / "outbox.db")
    await check


def trees_of(file: Path) -> list[tuple[str, int]]:
    """Return each table and index with the page that its tree begins with."""
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(
            "SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0 AND name <> 'sqlite_sequence'"
        ).fetchall()


async def test_no_table_and_no_index_can_be_spoiled_unnoticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrity, "REST_S_MIN", 0.0)
    monkeypatch.setattr(integrity, "REST_TIMES", 0)
    async with opened(tmp_path / "whole") as outbox:
        await outbox.commit([draft("one")])
    unnoticed = []
    for name, page in trees_of(tmp_path / "whole" / "outbox.db"):
        data_dir = shutil.copytree(tmp_path / "whole", tmp_path / name)
        spoil(data_dir / "outbox.db", page)
        async with opened(data_dir) as outbox:
            if list(data_dir.glob("outbox.damaged-*")):
                continue  # the look at its opening found it
            try:
                await outbox.checker.round()
            except OutboxDamaged:
                continue
            unnoticed.append(name)
    assert unnoticed == []


async def test_rows_that_share_a_key_are_read_once_each_over_slices(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "SLICE_ROWS", 7)
    monkeypatch.setattr(integrity, "REST_S_MIN", 0.0)
    monkeypatch.setattr(integrity, "REST_TIMES", 0)
    async with opened(data_dir) as outbox:
        await outbox.mark_delivered(range(1, 101), [])  # all of the same age
    (settled,) = [walk for walk in walks(load_migrations(), asked_for_by_rows=frozenset()) if "settled" in walk.name]
    with closing(sqlite3.connect(data_dir / "outbox.db")) as connection:
        found, rows = [], connection.execute(settled.sql(7, is_first=True)).fetchall()
        while rows:
            found += [row[-1] for row in rows]
            rows = connection.execute(settled.sql(7, is_first=False), settled.key(rows[-1])).fetchall()
    assert found == list(range(1, 101))
