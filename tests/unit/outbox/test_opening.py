"""Opening: durable settings, one owner, and a clear refusal of what is not a sound outbox of ours."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gateway.errors import DataDirectoryLocked, DiskNotReady, OutboxUnusable, Stopping
from gateway.outbox.connection import open_for_writing
from gateway.outbox.schema import load_migrations
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.settings import OutboxSettings
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import KeptMeter, StillClock, opened

MIB = 1024 * 1024


def open_at(data_dir: Path, *, predecessor: tuple[str, int] | None = None) -> SqliteOutbox:
    return open_outbox(
        data_dir, settings=OutboxSettings(), clock=StillClock(), meter=KeptMeter(), predecessor=predecessor
    )


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "site" / "data"


@pytest.fixture
def file(data_dir: Path) -> Path:
    """Return the path of a sound, closed outbox file."""
    open_at(data_dir).close()
    return data_dir / "outbox.db"


def test_the_directory_and_the_files_are_for_their_owner_alone(file: Path) -> None:
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()} == {
        "outbox.ballast": 0o600,
        "outbox.db": 0o600,
        "outbox.epoch": 0o600,
        "outbox.lock": 0o600,
    }


def test_a_connection_is_durable_and_capped(file: Path) -> None:
    connection = open_for_writing(file, bytes_max=8 * MIB, migrations=load_migrations())
    pragmas = ("journal_mode", "synchronous", "max_page_count", "page_size", "auto_vacuum", "journal_size_limit")
    found = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas}
    connection.close()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "max_page_count": 2048,
        "page_size": 4096,
        "auto_vacuum": 2,
        "journal_size_limit": 4_096_000,
    }


async def test_everything_is_there_after_reopening(data_dir: Path) -> None:
    async with opened(data_dir) as outbox:
        for n in range(4):
            await outbox.commit([draft(f"a-{n}")])
        await outbox.mark_delivered([1], [])
        await outbox.mark_dead(2, "x")
        await outbox.record_crash(["aa"])
        await outbox.record_crash(["aa"])
        before = await outbox.state()
    async with opened(data_dir) as outbox:
        assert await outbox.state() == before
        assert outbox.is_poison("aa")
        assert (await outbox.commit([draft("b")])).sequence == 5


async def test_pending_events_are_work_after_reopening(data_dir: Path) -> None:
    async with opened(data_dir) as outbox:
        await outbox.commit([draft("a-1")])
    async with opened(data_dir) as outbox, asyncio.timeout(5):
        await outbox.wait_for_work()


async def test_a_sequence_is_never_given_again_even_if_all_events_are_gone(data_dir: Path, file: Path) -> None:
    async with opened(data_dir) as outbox:
        await outbox.commit([draft("a-1")])
    with sqlite3.connect(file) as connection:
        connection.execute("DELETE FROM events")
    connection.close()
    async with opened(data_dir) as outbox:
        assert (await outbox.commit([draft("a-2")])).sequence == 2


async def test_a_new_file_names_its_predecessor(data_dir: Path) -> None:
    outbox = open_at(data_dir, predecessor=("earlier", 41))
    outbox.start()
    epoch = (await outbox.state()).epoch
    outbox.close()
    assert (epoch.predecessor, epoch.predecessor_last_sequence) == ("earlier", 41)
    async with opened(data_dir) as again:
        assert (await again.state()).epoch == epoch


# --- one owner ----------------------------------------------------------------------------------------


def test_a_second_gateway_is_told_who_holds_the_data(data_dir: Path) -> None:
    first = open_at(data_dir)
    with pytest.raises(DataDirectoryLocked, match=f"process {os.getpid()} already serves"):
        open_at(data_dir)
    first.close()
    open_at(data_dir).close()


def test_a_killed_owner_leaves_no_lock(data_dir: Path) -> None:
    holder = textwrap.dedent(f"""
        import os, pathlib
        from gateway.outbox.files import DirectoryLock, prepare_directory
        folder = pathlib.Path({str(data_dir)!r})
        prepare_directory(folder)
        DirectoryLock(folder)
        os.kill(os.getpid(), 9)
    """)
    assert subprocess.run([sys.executable, "-c", holder], check=False).returncode == -9
    open_at(data_dir).close()


async def test_other_programs_read_while_the_gateway_writes(data_dir: Path) -> None:
    async with opened(data_dir) as outbox:
        await outbox.commit([draft("a-1")])
        await outbox.commit([draft("a-2")])
        command = [sys.executable, "-m", "sqlite_utils", "tables", str(data_dir / "outbox.db"), "--counts", "--csv"]
        tables = await asyncio.to_thread(lambda: subprocess.run(command, capture_output=True, text=True, check=True))
        await outbox.commit([draft("a-3")])
    counts = dict(line.split(",") for line in tables.stdout.splitlines()[1:])
    assert (counts["events"], counts["refusals"], counts["epochs"]) == ("2", "0", "1")


async def test_people_find_recent_results_in_words(data_dir: Path) -> None:
    async with opened(data_dir) as outbox:
        await outbox.commit([draft("a-1", values_json='{"t":1}')])
    connection = sqlite3.connect(data_dir / "outbox.db")
    rows = connection.execute("SELECT device, label, probability_percent, state FROM recent_results").fetchall()
    connection.close()
    assert rows == [("device-1", '{"t":1}', None, "pending")]


# --- what is refused ----------------------------------------------------------------------------------


def test_a_file_of_a_newer_version_is_refused_and_not_touched(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = {path.name: path.read_bytes() for path in file.parent.glob("outbox.db*")}
    with pytest.raises(OutboxUnusable, match=r"newer version of the gateway \(schema 99"):
        open_at(file.parent)
    assert {path.name: path.read_bytes() for path in file.parent.glob("outbox.db*")} == before


def test_another_programs_database_is_refused(data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    with sqlite3.connect(data_dir / "outbox.db") as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    with pytest.raises(OutboxUnusable, match="not an outbox"):
        open_at(data_dir)


def test_what_is_no_database_is_refused_and_kept(data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    (data_dir / "outbox.db").write_bytes(b"hello" * 1000)
    with pytest.raises(OutboxUnusable, match="not an SQLite database"):
        open_at(data_dir)
    assert (data_dir / "outbox.db").read_bytes() == b"hello" * 1000


def test_a_crash_while_the_file_was_made_is_no_obstacle(data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    (data_dir / "outbox.db.new").write_bytes(b"half")
    open_at(data_dir).close()
    assert not (data_dir / "outbox.db.new").exists()


def test_a_directory_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxUnusable, match=r"set gateway\.data_dir to a folder"):
        open_at(tmp_path / "file" / "data")


def test_a_read_only_directory_is_refused(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OutboxUnusable, match="can't be written"):
        open_at(small_disk)


def test_a_disk_too_full_for_a_new_file_is_refused_and_left_clean(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(5 * MIB))
    with pytest.raises(DiskNotReady, match="the disk is full"):
        open_at(small_disk)
    filler.unlink()
    open_at(small_disk).close()


def test_a_disk_too_full_to_open_an_old_file_is_no_mistake_and_passes(small_disk: Path) -> None:
    open_at(small_disk).close()
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(5 * MIB))
    with pytest.raises(DiskNotReady, match="the disk is full"):
        open_at(small_disk)
    filler.unlink()
    open_at(small_disk).close()


# --- closing ------------------------------------------------------------------------------------------


async def test_closing_leaves_no_wal_behind_and_takes_nothing_more(data_dir: Path) -> None:
    async with opened(data_dir) as outbox:
        await outbox.commit([draft("a-1")])
        assert (data_dir / "outbox.db-wal").stat().st_size > 0
        outbox.close()
        assert not (data_dir / "outbox.db-wal").exists()
        with pytest.raises(Stopping):
            await outbox.commit([draft("a-2")])
        with pytest.raises(Stopping):
            await outbox.find_event("device-1", "a-1")


async def test_what_was_asked_for_before_closing_is_done(data_dir: Path) -> None:
    async with opened(data_dir) as outbox:
        waiting = [asyncio.ensure_future(outbox.commit([draft(f"a-{n}")])) for n in range(300)]
        await asyncio.sleep(0)
        await asyncio.to_thread(outbox.close)
        receipts = await asyncio.gather(*waiting)
    assert len({receipt.sequence for receipt in receipts}) == 300
