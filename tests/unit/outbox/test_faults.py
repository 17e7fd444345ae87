"""Full and failing disks, requests at fault themselves, callers that go away: what is said is what is stored."""

import asyncio
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import DiskUnavailable, IntakeFull, OutboxFull, OutboxUnusable, RequestInvalid, Stopping
from gateway.outbox import writer as writer_module
from gateway.outbox.inspection import list_events, read_state
from gateway.outbox.sqlite_outbox import SqliteOutbox
from gateway.settings import OutboxSettings
from tests.fakes.outbox import draft
from tests.fakes.outbox_damage import root_of, spoil
from tests.fakes.outbox_parts import KeptMeter, opened

MIB = 1024 * 1024
BIG = '{"text":"' + "x" * 20_000 + '"}'


class Flaky:
    """A connection that fails as a disk does: ``fail`` maps the start of a statement to an SQLite error code."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.fail: dict[str, int] = {}
        self.fail_after: dict[str, int] = {}  # the statement is done, and reported as failed
        self.statements: list[str] = []

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        self.statements.append(sql.split(maxsplit=1)[0])
        _fail_as_told(self.fail, sql)
        cursor = self.connection.execute(sql, *parameters)
        _fail_as_told(self.fail_after, sql)
        return cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


def _fail_as_told(told: dict[str, int], sql: str) -> None:
    for start, code in told.items():
        if sql.startswith(start):
            error = sqlite3.OperationalError("disk I/O error (fake)")
            error.sqlite_errorcode = code
            raise error


def make_flaky(outbox: SqliteOutbox) -> Flaky:
    flaky = Flaky(outbox._store._connection)  # type: ignore[arg-type]
    outbox._store._connection = flaky  # type: ignore[assignment]
    return flaky


async def fill(outbox: SqliteOutbox, *, values_json: str = BIG) -> tuple[list[int], Exception]:
    """Commit until refused; return the acknowledged sequences and the refusal."""
    acknowledged: list[int] = []
    while True:
        try:
            receipt = await outbox.commit([draft(f"fill-{len(acknowledged)}", values_json=values_json)])
        except (OutboxFull, DiskUnavailable) as error:
            return acknowledged, error
        acknowledged.append(receipt.sequence)


# --- caps and full disks ------------------------------------------------------------------------------


async def test_the_byte_cap_refuses_before_anything_is_stored_and_marks_still_fit(tmp_path: Path) -> None:
    async with opened(tmp_path, settings=OutboxSettings(bytes_max=MIB)) as outbox:
        acknowledged, error = await fill(outbox)
        assert isinstance(error, OutboxFull)
        assert acknowledged == list(range(1, len(acknowledged) + 1))
        await outbox.mark_dead(1, "x")
        await outbox.mark_delivered(acknowledged, [])
        state = await outbox.state()
        assert (state.pending, state.delivered, state.dead) == (0, len(acknowledged) - 1, 1)
        assert state.bytes_used <= MIB
        await outbox.commit([draft("fits-again", values_json=BIG)])
    assert (tmp_path / "outbox.db").stat().st_size <= MIB


async def test_sqlites_own_page_limit_is_a_disk_error_and_the_writer_lives_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.commit([draft("before")])
        connection = outbox._store._connection
        assert connection is not None
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 10}").fetchone()
        _, error = await fill(outbox)
        assert isinstance(error, DiskUnavailable)
        connection.execute("PRAGMA max_page_count = 100000").fetchone()
        receipt = await outbox.commit([draft("after")])
        state = await outbox.state()
    assert receipt.sequence == state.sequence_high == state.pending


async def test_a_full_disk_loses_nothing_and_works_again_when_space_returns(small_disk: Path) -> None:
    async with opened(small_disk / "data") as outbox:
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(MIB))
        acknowledged, error = await fill(outbox)
        assert isinstance(error, DiskUnavailable)
        refused = await asyncio.gather(
            *(outbox.commit([draft(f"late-{n}", values_json=BIG)]) for n in range(5)), return_exceptions=True
        )
        assert {type(outcome) for outcome in refused} == {DiskUnavailable}
        ballast.unlink()
        receipt = await outbox.commit([draft("after")])
        assert receipt.sequence == acknowledged[-1] + 1
    async with opened(small_disk / "data") as outbox:
        events = await outbox.pending(after_sequence=0, limit=10_000)
    assert [event.sequence for event in events] == [*acknowledged, receipt.sequence]


async def test_acknowledgements_of_the_cloud_fit_where_events_do_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.commit([draft("a-1")])
        flaky = make_flaky(outbox)
        flaky.fail["INSERT INTO events"] = sqlite3.SQLITE_FULL
        flaky.fail["-- One statement"] = sqlite3.SQLITE_FULL
        refused, marked = await asyncio.gather(
            outbox.commit([draft("a-2")]), outbox.mark_delivered([1], []), return_exceptions=True
        )
        assert isinstance(refused, DiskUnavailable)
        assert marked is None
        assert (await outbox.state()).delivered == 1


# --- failing disks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_FULL])
@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT"])
async def test_after_a_failed_commit_nothing_is_stored_and_the_next_one_is(
    tmp_path: Path, statement: str, code: int
) -> None:
    async with opened(tmp_path) as outbox:
        await outbox.commit([draft("a-1")])
        make_flaky(outbox).fail[statement] = code
        waiting = [outbox.commit([draft(f"b-{n}")]) for n in range(3)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DiskUnavailable}
        outbox._store._connection = getattr(outbox._store._connection, "connection", None)  # the disk is well again
        assert (await outbox.commit([draft("c-1")])).sequence == 2
        events = await outbox.pending(after_sequence=0, limit=10)
        assert [event.item_id for event in events] == ["a-1", "c-1"]


async def test_the_file_is_opened_anew_after_an_io_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        make_flaky(outbox).fail["COMMIT"] = sqlite3.SQLITE_IOERR
        with pytest.raises(DiskUnavailable):
            await outbox.commit([draft("a-1")])
        await outbox.commit([draft("a-1")])
        assert not isinstance(outbox._store._connection, Flaky)


async def test_a_commit_that_failed_but_is_there_is_recognised_by_its_id(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        make_flaky(outbox).fail_after["COMMIT"] = sqlite3.SQLITE_IOERR_FSYNC
        with pytest.raises(DiskUnavailable):
            await outbox.commit([draft("a-1")])
        again = await outbox.commit([draft("a-1")])
        assert (again.duplicate, again.sequence) == (True, 1)
        assert (await outbox.commit([draft("a-2")])).sequence == 2
        assert (await outbox.state()).pending == 2


async def test_a_commit_that_failed_but_is_there_is_work(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        make_flaky(outbox).fail_after["COMMIT"] = sqlite3.SQLITE_IOERR_FSYNC
        with pytest.raises(DiskUnavailable):
            await outbox.commit([draft("a-1")])
        await outbox.mark_delivered([99], [])
        async with asyncio.timeout(5):
            await outbox.wait_for_work()


async def test_while_the_card_is_gone_devices_are_put_off_and_then_served(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with opened(data_dir) as outbox:
        await outbox.commit([draft("a-1")])
        make_flaky(outbox).fail["COMMIT"] = sqlite3.SQLITE_IOERR
        (data_dir / "outbox.db").rename(data_dir / "elsewhere")
        for _ in range(2):
            with pytest.raises(DiskUnavailable):
                await outbox.commit([draft("a-2")])
        (data_dir / "elsewhere").rename(data_dir / "outbox.db")
        assert (await outbox.commit([draft("a-2")])).sequence == 2


async def test_damage_found_while_running_ends_the_writer_and_leaves_nobody_waiting(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        flaky = make_flaky(outbox)
        flaky.fail["COMMIT"] = sqlite3.SQLITE_CORRUPT
        spoil(tmp_path / "outbox.db", root_of(tmp_path / "outbox.db", "ledger"))  # the file opened anew shows it, too
        with pytest.raises(Stopping):
            await outbox.commit([draft("a-1")])
        with pytest.raises(OutboxUnusable, match="is damaged"):
            await outbox.failed()
        with pytest.raises(Stopping):
            await outbox.commit([draft("a-2")])


async def test_damage_that_the_file_opened_anew_does_not_show_was_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        make_flaky(outbox).fail["COMMIT"] = sqlite3.SQLITE_CORRUPT
        assert (await outbox.commit([draft("a-1")])).sequence == 1
        assert [event.item_id for event in await outbox.pending(after_sequence=0, limit=9)] == ["a-1"]


async def test_a_copy_taken_in_the_middle_of_writing_opens_clean(tmp_path: Path) -> None:
    acknowledged = []
    async with opened(tmp_path / "data") as outbox:
        for round_number in range(5):
            waiting = [asyncio.ensure_future(outbox.commit([draft(f"{round_number}-{n}")])) for n in range(50)]
            acknowledged = [event.sequence for event in await outbox.pending(after_sequence=0, limit=1000)]
            copy = tmp_path / f"copy-{round_number}"
            copy.mkdir()
            # As after a power cut: the WAL as it is, no shared memory, no closing.
            shutil.copy(tmp_path / "data" / "outbox.db", copy)
            shutil.copy(tmp_path / "data" / "outbox.db-wal", copy)
            await asyncio.gather(*waiting)
            async with opened(copy) as after:
                events = await after.pending(after_sequence=0, limit=1000)
                sequences = [event.sequence for event in events]
                assert sequences == list(range(1, len(sequences) + 1))
                assert set(acknowledged) <= set(sequences)
                assert (await after.commit([draft("next")])).sequence == len(sequences) + 1


# --- a request's own fault ----------------------------------------------------------------------------


async def test_text_that_can_not_be_stored_fails_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        good = [outbox.commit([draft(f"a-{n}")]) for n in range(3)]
        bad = outbox.commit(
            [draft("bad", item=0), draft("bad", item=1, values_json='{"t":"\ud800"}')]  # its first row was fine
        )
        outcomes = await asyncio.gather(*good[:2], bad, good[2], return_exceptions=True)
        assert isinstance(outcomes[2], RequestInvalid)
        state = await outbox.state()
        assert (state.pending, state.sequence_high) == (3, 3)
        assert [event.sequence for event in await outbox.pending(after_sequence=0, limit=9)] == [1, 2, 3]


# --- callers ------------------------------------------------------------------------------------------


async def test_everything_that_waits_goes_into_one_transaction(tmp_path: Path) -> None:
    meter = KeptMeter()
    async with opened(tmp_path, meter=meter, settings=OutboxSettings(group_commit_max=16)) as outbox:
        flaky = make_flaky(outbox)
        await asyncio.gather(*(outbox.commit([draft(f"a-{n}")]) for n in range(64)))
        commits = flaky.statements.count("COMMIT")
    sizes = meter.observations["gateway_outbox_commit_group_size"]
    assert sum(sizes) == 64
    assert max(sizes) == 16
    assert commits == len(sizes) == len(meter.observations["gateway_outbox_commit_seconds"])


async def test_a_cancelled_commit_is_recognised_when_it_comes_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as outbox:
        waiting = asyncio.ensure_future(outbox.commit([draft("a-1")]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        again = await outbox.commit([draft("a-1")])
        assert (again.duplicate, again.sequence) == (True, 1)
        await outbox.wait_for_work()


async def test_requests_beyond_the_bound_are_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "WAITING_MAX", 5)
    async with opened(tmp_path) as outbox:
        outcomes = await asyncio.gather(*(outbox.commit([draft(f"a-{n}")]) for n in range(9)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes].count(IntakeFull) == 4
        await outbox.commit([draft("later")])


async def test_figures_are_shown_as_levels(tmp_path: Path) -> None:
    meter = KeptMeter()
    async with opened(tmp_path, meter=meter) as outbox:
        await outbox.commit([draft("a-1")])
        await outbox.state()
    assert meter.levels[("gateway_outbox_events", "pending")] == 1
    assert meter.levels[("gateway_outbox_sequence_high",)] == 1
    assert meter.levels[("gateway_outbox_bytes",)] == read_state(tmp_path).bytes_used
    assert meter.levels[("gateway_outbox_rows_max",)] == OutboxSettings().rows_max
    assert meter.levels[("gateway_outbox_bytes_max",)] == OutboxSettings().bytes_max
    assert len(list(list_events(tmp_path))) == 1
