"""Migrations, and what they make: every old file becomes what a new one is."""

import dataclasses
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlite_utils

from gateway.outbox.inspection import list_events, read_state
from gateway.outbox.queries import load_queries
from gateway.outbox.schema import APPLICATION_ID, Migration, load_migrations, migrate
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import opened

OLD_FILES = sorted((Path(__file__).resolve().parents[2] / "data" / "outbox").glob("outbox-v*.db"))
# Small tables, bounded each: reading them whole is meant.
SMALL = (
    "ledger|tombstones|refusals|commands|crash_suspects|epochs|boots|clock_offsets|sqlite_sequence|json_each|CONSTANT"
    "|policy_counts"
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


def test_there_is_an_old_file_of_every_version() -> None:
    assert [path.stem for path in OLD_FILES] == [f"outbox-v{m.number}" for m in load_migrations()]


@pytest.mark.parametrize("old", OLD_FILES, ids=lambda path: path.stem)
async def test_an_old_file_becomes_what_a_new_one_is(old: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "new"):
        pass
    (tmp_path / "old").mkdir()
    shutil.copy(old, tmp_path / "old" / "outbox.db")
    async with opened(tmp_path / "old"):
        pass
    migrated, new = (sqlite_utils.Database(tmp_path / name / "outbox.db") for name in ("old", "new"))
    assert migrated.schema == new.schema
    assert migrated.conn.execute("PRAGMA user_version").fetchone() == new.conn.execute("PRAGMA user_version").fetchone()
    migrated.close()
    new.close()


@pytest.mark.parametrize("old", OLD_FILES, ids=lambda path: path.stem)
async def test_an_old_file_keeps_its_events_and_goes_on_counting(old: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    shutil.copy(old, data_dir / "outbox.db")
    async with opened(data_dir) as outbox:
        receipt = await outbox.commit([draft("new-1")])
        recalled = await outbox.recall("device-1", "old-pruned", "cc" * 32)
    state = read_state(data_dir)
    assert receipt.sequence == 5
    assert (state.pending, state.delivered, state.dead, state.tombstones_pending) == (2, 1, 1, 1)
    assert recalled is not None
    assert [event.submission_id for event in list_events(data_dir, limit=2)] == ["new-1", "old-dead"]


def test_a_failing_migration_leaves_nothing_behind(connection: sqlite3.Connection) -> None:
    shipped = load_migrations()
    broken = (
        *shipped,
        Migration(number=len(shipped) + 1, sql="CREATE TABLE half (a);\nINSERT INTO nowhere VALUES (1);"),
    )
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, broken)
    assert connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone() == (0,)
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    assert not connection.in_transaction


def test_only_missing_migrations_are_applied(connection: sqlite3.Connection) -> None:
    shipped = load_migrations()
    migrate(connection, shipped)
    more = (*shipped, Migration(number=len(shipped) + 1, sql="CREATE TABLE more (a);"))
    migrate(connection, more)
    migrate(connection, more)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(more),)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(load_queries())])
def test_no_statement_reads_all_events(connection: sqlite3.Connection, name: str) -> None:
    migrate(connection, load_migrations())
    sql = re.sub(r"^--.*$", "", getattr(load_queries(), name), flags=re.MULTILINE)
    plan = connection.execute("EXPLAIN QUERY PLAN " + re.sub(r"\?\d*|:[a-z_]+", "1", sql)).fetchall()
    scans = [step[3] for step in plan if step[3].startswith("SCAN")]
    assert [s for s in scans if "USING" not in s and not re.search(SMALL, s)] == []


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(load_queries())])
def test_no_statement_compares_or_orders_by_a_wall_time(name: str) -> None:
    # A wall clock jumps: what is kept, and for how long, hangs on ages and sequences (DELIVERY T5).
    sql = re.sub(r"^--.*$", "", getattr(load_queries(), name), flags=re.MULTILINE)
    assert not re.search(r"_at\s*(<|>|=\s*:\w+_before|BETWEEN)|ORDER BY [^()]*_at\b", sql)
