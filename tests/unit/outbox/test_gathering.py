"""A commit waits for company only where syncs are slow and there is any."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import SystemClock
from gateway.outbox.gathering import GATHER_MAX_S, SLOW_SYNC_S, Pace
from gateway.outbox.requests import Request
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.outbox.store import Committed, Store
from gateway.settings import OutboxSettings
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import KeptMeter

CARD_SYNC_S = 0.02
DEVICES = 16
ROUNDS = 12


def after(pace: Pace, times: int, *, sync_s: float, group: int = 1, waiting: int = 0) -> Pace:
    for _ in range(times):
        pace = pace.after(sync_s=sync_s, group=group, waiting=waiting)
    return pace


@given(st.floats(0, SLOW_SYNC_S * 0.99), st.integers(1, 500), st.integers(0, 500))
def test_a_fast_disk_never_waits(sync_s: float, group: int, waiting: int) -> None:
    assert after(Pace(), 50, sync_s=sync_s, group=group, waiting=waiting).wait_s(1) == 0


def test_a_lone_device_never_waits_however_slow_the_card() -> None:
    assert after(Pace(), 50, sync_s=0.2).wait_s(1) == 0


def test_a_slow_card_waits_for_as_many_as_came_together() -> None:
    pace = after(Pace(), 50, sync_s=CARD_SYNC_S, group=1, waiting=7)
    assert pace.wait_s(1) == pytest.approx(CARD_SYNC_S, rel=0.05)
    assert pace.wait_s(7) > 0
    assert pace.wait_s(8) == 0


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 500), st.integers(0, 500)), max_size=50), st.integers(1, 500)
)
def test_the_wait_is_bounded(commits: list[tuple[float, int, int]], group: int) -> None:
    pace = Pace()
    for sync_s, size, waiting in commits:
        pace = pace.after(sync_s=sync_s, group=size, waiting=waiting)
    assert 0 <= pace.wait_s(group) <= GATHER_MAX_S


def test_a_hiccup_does_not_make_a_fast_disk_slow() -> None:
    pace = after(Pace(), 50, sync_s=0.001, group=1, waiting=7)
    pace = pace.after(sync_s=2.0, group=1, waiting=7)
    assert pace.wait_s(1) == 0


def test_a_card_that_becomes_slow_is_noticed_within_twenty_commits() -> None:
    pace = after(Pace(), 50, sync_s=0.001, group=1, waiting=7)
    assert after(pace, 20, sync_s=CARD_SYNC_S, group=1, waiting=7).wait_s(1) > 0


def test_a_crowd_that_is_gone_is_forgotten() -> None:
    pace = after(Pace(), 50, sync_s=CARD_SYNC_S, group=16, waiting=16)
    assert after(pace, 35, sync_s=CARD_SYNC_S).wait_s(1) == 0


# --- the writer ---------------------------------------------------------------------------------------


class SlowCard(Store):
    """A real store on a card that takes its time for a sync."""

    sync_s = CARD_SYNC_S

    def transact(self, requests: Sequence[Request[Any]]) -> Committed:
        committed = super().transact(requests)
        time.sleep(self.sync_s)
        return replace(committed, sync_s=committed.sync_s + self.sync_s)


async def commits_needed(data_dir: Path, monkeypatch: pytest.MonkeyPatch, *, store: type[Store], gathers: bool) -> int:
    """Return in how many commits devices that send at once, and again when acknowledged, are served."""
    monkeypatch.setattr("gateway.outbox.opening.Store", store)
    if not gathers:
        monkeypatch.setattr(Pace, "wait_s", lambda _self, _group: 0.0)
    meter = KeptMeter()
    outbox = open_outbox(data_dir, settings=OutboxSettings(), clock=SystemClock(), meter=meter)
    outbox.start()
    await asyncio.gather(*map(partial(_device, outbox), range(DEVICES)))
    assert (await outbox.state()).pending == DEVICES * ROUNDS
    await asyncio.to_thread(outbox.close)
    return len(meter.observations["gateway_outbox_commit_group_size"])


async def _device(outbox: SqliteOutbox, number: int) -> None:
    for n in range(ROUNDS):
        await outbox.commit([draft(f"{number}-{n}")])
        await asyncio.sleep(0.001 * (number % 4))  # not all are equally quick


async def test_a_slow_card_does_fewer_syncs_with_gathering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        without = await commits_needed(tmp_path / "without", patch, store=SlowCard, gathers=False)
    gathered = await commits_needed(tmp_path / "with", monkeypatch, store=SlowCard, gathers=True)
    assert gathered < 0.8 * without
