"""A card that goes and comes back, and what an earlier life left unsynced. The whole of it, with real file systems and
power cuts, is tests/faults."""

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import DataDirectoryLocked, DiskNotReady, DiskUnavailable, OutboxUnusable
from gateway.outbox.files import DirectoryLock
from gateway.outbox.reader import Reader
from gateway.outbox.sqlite_outbox import open_outbox
from gateway.settings import OutboxSettings
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import KeptMeter, StillClock, opened


def copy_as_a_kill_leaves_it(data_dir: Path, to: Path) -> None:
    """Copy the file and its WAL, which nobody has closed."""
    to.mkdir()
    for name in ("outbox.db", "outbox.db-wal"):
        shutil.copy(data_dir / name, to)


def events_without_wal(data_dir: Path, folder: Path) -> list[str]:
    """Return the submission ids that are in the file itself, its WAL left aside."""
    alone = folder / "alone.db"
    shutil.copy(data_dir / "outbox.db", alone)
    with closing(sqlite3.connect(alone)) as connection:
        return [row[0] for row in connection.execute("SELECT submission_id FROM events ORDER BY sequence")]


async def test_what_an_earlier_life_left_in_the_wal_is_synced_before_anyone_is_told_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may never have been synced: a redelivery would be acknowledged, and lost with the next power cut."""
    after = tmp_path / "after"
    async with opened(tmp_path / "data") as outbox:
        await outbox.commit([draft("a-1")])
        copy_as_a_kill_leaves_it(tmp_path / "data", after)
    assert events_without_wal(after, tmp_path) == []
    synced: list[str] = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    async with opened(after) as outbox:
        assert str(after / "outbox.db-wal") in synced
        assert events_without_wal(after, tmp_path) == ["a-1"]
        assert (await outbox.commit([draft("a-1")])).duplicate


async def test_a_wal_that_can_not_be_synced_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = tmp_path / "after"
    async with opened(tmp_path / "data") as outbox:
        await outbox.commit([draft("a-1")])
        copy_as_a_kill_leaves_it(tmp_path / "data", after)

    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DiskNotReady, match="can't be synced"):
        open_outbox(after, settings=OutboxSettings(), clock=StillClock(), meter=KeptMeter())


async def test_a_disk_that_is_not_ready_when_the_file_is_opened_anew_puts_devices_off(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        store = outbox._store
        connect, store._connection = store._connect, None

        def not_ready() -> sqlite3.Connection:
            raise DiskNotReady("the card is not in")

        store._connect = not_ready
        with pytest.raises(DiskUnavailable):
            await outbox.commit([draft("a-1")])
        store._connect = connect
        assert (await outbox.commit([draft("a-1")])).sequence == 1


async def test_after_a_card_is_put_back_what_is_read_is_the_file_that_is_written(tmp_path: Path) -> None:
    """The old file system stays readable for those who have its files open: the cloud would never hear of the new."""
    data_dir = tmp_path / "data"
    async with opened(data_dir) as outbox:
        await outbox.commit([draft("a-1")])
        assert len(await outbox.pending(after_sequence=0, limit=9)) == 1
        store = outbox._store
        assert store._connection is not None
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        data_dir.rename(tmp_path / "old-mount")
        shutil.copytree(tmp_path / "old-mount", data_dir)
        store._connection = None  # as after an I/O error
        await outbox.commit([draft("a-2")])
        events = await outbox.pending(after_sequence=0, limit=9)
        with pytest.raises(DataDirectoryLocked):
            DirectoryLock(data_dir)
    assert [event.item_id for event in events] == ["a-1", "a-2"]


class Torn:
    """A connection to a card that was taken out: SQLite takes what it reads for damage."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    def close(self) -> None:
        pass


def torn_reader(path: Path) -> Reader:
    reader = Reader(path)
    reader._connection = Torn()  # type: ignore[assignment]
    found = path.stat()
    reader._identity = (found.st_dev, found.st_ino)
    return reader


async def test_damage_that_a_fresh_look_does_not_show_was_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.commit([draft("a-1")])
        reader = torn_reader(tmp_path / "outbox.db")
        assert await reader.rows("SELECT sequence FROM events", (), list) == [(1,)]
        reader.close()


async def test_damage_that_a_fresh_look_shows_again_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "outbox.db"
    file.write_bytes(b"not a database at all " * 100)
    reader = torn_reader(file)
    with pytest.raises(OutboxUnusable, match="is damaged"):
        await reader.rows("SELECT sequence FROM events", (), list)
    reader.close()


async def test_a_file_that_is_gone_can_not_be_read_for_now(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "outbox.db")
    with pytest.raises(DiskUnavailable):
        await reader.rows("SELECT sequence FROM events", (), list)
    reader.close()


def test_a_dead_card_at_the_start_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "open", dead)
    with pytest.raises(DiskNotReady, match="card"):
        DirectoryLock(tmp_path)
