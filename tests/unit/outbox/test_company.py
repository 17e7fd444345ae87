"""Commits of pictures wait for each other while others are close behind, and never longer than a moment."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.errors import Stopping
from gateway.messages import Receipt
from gateway.outbox import writer
from gateway.outbox.gathering import PICTURES_WAIT_S
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.settings import OutboxSettings
from tests.fakes.intake import RIPE, RecordingMeter
from tests.fakes.outbox import draft


@dataclass
class World:
    """An outbox whose transactions are counted, and a switch for whether more is coming."""

    outbox: SqliteOutbox
    groups: list[int] = field(default_factory=list)
    more: bool = True

    async def commit_picture(self, name: str) -> Receipt:
        return await self.outbox.commit([replace(draft(submission_id=name), result=RIPE)])

    def begin(self, *names: str) -> "list[asyncio.Task[Receipt]]":
        return [asyncio.create_task(self.commit_picture(name)) for name in names]


@asynccontextmanager
async def world(folder: Path, **settings: Any) -> AsyncIterator[World]:
    outbox = open_outbox(folder, settings=OutboxSettings(**settings), clock=SystemClock(), meter=RecordingMeter())
    made = World(outbox)
    original = outbox._store.transact

    def counting(requests: Any) -> Any:
        made.groups.append(len(requests))
        return original(requests)

    outbox._store.transact = counting  # type: ignore[method-assign]
    outbox.gather_while(lambda: made.more)
    outbox.start()
    try:
        yield made
    finally:
        await asyncio.to_thread(outbox.close)


@pytest.fixture
def long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PICTURES_WAIT_S", 30.0)


async def test_pictures_wait_for_each_other_and_share_a_transaction(tmp_path: Path, long_wait: None) -> None:
    async with world(tmp_path) as made:
        waiting = made.begin("a", "b", "c")
        await asyncio.sleep(0.05)
        assert made.groups == []
        made.more = False
        last = await made.commit_picture("d")
        assert [receipt.sequence for receipt in await asyncio.gather(*waiting)] == [1, 2, 3]
        assert last.sequence == 4
        assert made.groups == [4]


async def test_a_picture_with_nothing_behind_it_is_committed_at_once(tmp_path: Path, long_wait: None) -> None:
    async with world(tmp_path) as made:
        made.more = False
        await made.commit_picture("a")
        assert made.groups == [1]


async def test_a_picture_waits_no_longer_than_a_moment(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        began = time.monotonic()
        await made.commit_picture("a")
        assert made.groups == [1]
        assert time.monotonic() - began >= PICTURES_WAIT_S / 2


async def test_readings_never_wait_and_take_along_what_does(tmp_path: Path, long_wait: None) -> None:
    async with world(tmp_path) as made:
        waiting = made.begin("a", "b")
        await asyncio.sleep(0)
        await made.outbox.commit([draft(submission_id="reading")])
        await asyncio.gather(*waiting)
        assert made.groups == [3]


async def test_not_more_than_a_group_waits(tmp_path: Path, long_wait: None) -> None:
    async with world(tmp_path, group_commit_max=4) as made:
        await asyncio.gather(*made.begin(*(str(number) for number in range(8))))
        assert made.groups == [4, 4] or sum(made.groups) == 8
        assert max(made.groups) <= 4


async def test_what_waits_is_committed_when_the_outbox_closes(tmp_path: Path, long_wait: None) -> None:
    async with world(tmp_path) as made:
        waiting = made.begin("a", "b")
        await asyncio.sleep(0)
        await asyncio.to_thread(made.outbox.close)
        assert [receipt.sequence for receipt in await asyncio.gather(*waiting)] == [1, 2]


async def test_what_waits_is_told_when_the_writer_ends(tmp_path: Path, long_wait: None) -> None:
    async with world(tmp_path) as made:

        def broken(requests: Any) -> Any:
            raise ZeroDivisionError

        made.outbox._store.transact = broken  # type: ignore[method-assign]
        waiting = made.begin("a")
        await asyncio.sleep(0)
        with pytest.raises(Stopping):
            await made.outbox.commit([draft(submission_id="reading")])
        with pytest.raises(Stopping):
            await waiting[0]
        with pytest.raises(Stopping):
            await made.commit_picture("b")
