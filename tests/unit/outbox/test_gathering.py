"""A commit waits for company only where syncs are slow and there is any."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outbox.gathering import GATHER_MAX_S, SLOW_SYNC_S, Pace
from tests.fakes.slow_card import CARD_SYNC_S, serve


def after(pace: Pace, times: int, *, sync_s: float, group: int = 1, waiting: int = 0) -> Pace:
    for _ in range(times):
        pace = pace.after(sync_s=sync_s, group=group, waiting=waiting)
    return pace


# No subnormal numbers: on 32-bit ARM the TFLite runtime has turned them off for the whole process.
@given(st.floats(0, SLOW_SYNC_S * 0.99, allow_subnormal=False), st.integers(1, 500), st.integers(0, 500))
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
    st.lists(st.tuples(st.floats(0, 10, allow_subnormal=False), st.integers(1, 500), st.integers(0, 500)), max_size=50),
    st.integers(1, 500),
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


async def test_a_slow_card_does_fewer_syncs_with_gathering_and_serves_no_less(tmp_path: Path) -> None:
    without = await serve(tmp_path / "without", devices=16, rounds=12, gathers=False)
    gathered = await serve(tmp_path / "with", devices=16, rounds=12, gathers=True)
    assert gathered.results == without.results == 16 * 12
    assert gathered.syncs < 0.8 * without.syncs
