"""Quiet hours and the daily budget of bytes, as rules."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.forwarding.allowance import Allowance, Rest
from gateway.forwarding.daily_budget import DAY_S, Spending
from gateway.forwarding.spending_file import SpendingFile
from gateway.messages import Stamp
from gateway.settings import CloudSettings
from gateway.settings.hours import SpanInvalid, parse_span, quiet_for
from tests.fakes.intake import RecordingMeter

NOON = datetime(2026, 5, 4, 12, 0)  # noqa: DTZ001  local time, as a wall clock shows it
MONDAY, TUESDAY = date(2026, 5, 4), date(2026, 5, 5)


def quiet_minutes(moment: datetime, *spans: str) -> float:
    return quiet_for([parse_span(text) for text in spans], moment).total_seconds() / 60


@pytest.mark.parametrize(
    ("hour", "minute", "minutes"),
    [(12, 0, 0), (21, 59, 0), (22, 0, 480), (23, 0, 420), (0, 0, 360), (5, 59, 1), (6, 0, 0)],
)
def test_a_span_over_midnight_is_quiet_until_its_end(hour: int, minute: int, minutes: float) -> None:
    assert quiet_minutes(NOON.replace(hour=hour, minute=minute), "22:00-06:00") == minutes


def test_spans_that_touch_are_one_silence() -> None:
    assert quiet_minutes(NOON, "12:00-13:00", "13:00-14:30") == 150


def test_a_day_that_is_quiet_throughout_has_an_end_to_look_again_at() -> None:
    assert timedelta(days=2) <= quiet_for([parse_span("00:00-12:00"), parse_span("12:00-24:00")], NOON)


def test_no_spans_are_never_quiet() -> None:
    assert quiet_minutes(NOON) == 0


@pytest.mark.parametrize("text", ["", "22-6", "22:00", "24:00-06:00", "22:00-24:30", "22:60-23:00", "08:00-08:00"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(SpanInvalid):
        parse_span(text)


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_the_moment_after_a_silence_is_not_quiet(start: int, end: int, now: int) -> None:
    if start == end:
        return
    span = parse_span(f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}")
    moment = NOON.replace(hour=now // 60, minute=now % 60)
    after = moment + quiet_for([span], moment)
    assert quiet_for([span], after) == timedelta(0)


def test_a_new_calendar_day_is_a_new_budget() -> None:
    monday = Spending(began_age_s=0, day=MONDAY).spent(900)
    assert monday.at(today=MONDAY, age_s=2 * DAY_S).leaves(1000) == 100
    assert monday.at(today=TUESDAY, age_s=60).leaves(1000) == 1000


def test_without_a_clock_a_day_is_a_day_of_powered_time() -> None:
    unknown = Spending(began_age_s=100, day=None).spent(1000)
    assert unknown.at(today=None, age_s=100 + DAY_S - 1).leaves(1000) == 0
    assert unknown.at(today=None, age_s=100 + DAY_S).leaves(1000) == 1000


def test_a_clock_that_becomes_right_gives_nothing_back() -> None:
    named = Spending(began_age_s=0, day=None).spent(1000).at(today=MONDAY, age_s=60)
    assert (named.day, named.leaves(1000)) == (MONDAY, 0)


def test_a_calendar_that_goes_back_gives_nothing_back() -> None:
    tuesday = Spending(began_age_s=0, day=TUESDAY).spent(1000)
    assert tuesday.at(today=MONDAY, age_s=60).leaves(1000) == 0


def test_more_spent_than_allowed_leaves_nothing_and_owes_nothing() -> None:
    assert Spending(began_age_s=0, day=MONDAY).spent(5000).leaves(1000) == 0


# --- the allowance, and the forwarder that obeys it ---


class SiteClock:
    """A clock at a site, and whether it is to be believed."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 5, 4, 21, 59, tzinfo=UTC)
        self.seconds = 0.0
        self.trusted = True

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.seconds

    def age_s(self) -> float:
        return self.seconds

    def wall_clock_trusted(self) -> bool:
        return self.trusted

    def stamp(self) -> Stamp:
        raise NotImplementedError

    def advance(self, **step: float) -> None:
        self.moment += timedelta(**step)
        self.seconds += timedelta(**step).total_seconds()


async def allowance(folder: Path, clock: SiteClock, meter: RecordingMeter | None = None, **settings: Any) -> Allowance:
    made = Allowance(
        settings=CloudSettings(timezone="UTC", **settings),
        file=SpendingFile(folder),
        clock=clock,
        timekeeper=clock,
        age_s=clock.age_s,
        meter=meter or RecordingMeter(),
    )
    await made.restore()
    return made


def reason(one: Allowance) -> str:
    rest = one.rest()
    return "" if rest is None else rest.reason


async def test_nothing_set_is_always_allowed(tmp_path: Path) -> None:
    one = await allowance(tmp_path, SiteClock())
    await one.spend(10**9)
    assert one.rest() is None
    assert not SpendingFile(tmp_path).load()


async def test_quiet_hours_hold_while_the_clock_is_right_and_only_then(tmp_path: Path) -> None:
    clock = SiteClock()
    one = await allowance(tmp_path, clock, quiet_hours=("22:00-06:00",))
    assert one.rest() is None
    clock.advance(minutes=1)
    assert one.rest() == Rest(reason="quiet_hours", for_s=8 * 3600)
    clock.trusted = False
    assert one.rest() is None


async def test_a_spent_budget_rests_until_midnight(tmp_path: Path) -> None:
    clock = SiteClock()
    one = await allowance(tmp_path, clock, bytes_per_day_max=1000)
    await one.spend(1000)
    assert one.rest() == Rest(reason="daily_budget_spent", for_s=2 * 3600 + 60)
    clock.advance(hours=3)
    assert one.rest() is None


async def test_a_restart_does_not_give_the_budget_back(tmp_path: Path) -> None:
    clock = SiteClock()
    await (await allowance(tmp_path, clock, bytes_per_day_max=1000)).spend(1000)
    assert reason(await allowance(tmp_path, clock, bytes_per_day_max=1000)) == "daily_budget_spent"


async def test_a_crash_counts_at_most_a_hundredth_too_much_and_nothing_too_little(tmp_path: Path) -> None:
    clock = SiteClock()
    one = await allowance(tmp_path, clock, bytes_per_day_max=100_000)
    for _ in range(50):
        await one.spend(100)
    kept = SpendingFile(tmp_path).load()
    assert kept is not None
    assert 5000 <= kept.byte_count <= 6000


async def test_few_writes_for_many_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[Spending] = []
    monkeypatch.setattr(SpendingFile, "keep", lambda _self, spending: writes.append(spending))
    one = await allowance(tmp_path, SiteClock(), bytes_per_day_max=1_000_000)
    for _ in range(10_000):
        await one.spend(100)
    assert len(writes) <= 101


@pytest.mark.parametrize("text", ["", "{", "[]", '{"day": "x", "began_age_s": 0, "byte_count": 1}'])
async def test_a_damaged_file_of_spending_costs_precision_and_not_service(tmp_path: Path, text: str) -> None:
    (tmp_path / "uplink-spending.json").write_text(text)
    one = await allowance(tmp_path, SiteClock(), bytes_per_day_max=1000)
    assert one.rest() is None
    await one.spend(1000)
    assert reason(one) == "daily_budget_spent"


async def test_what_is_left_and_whether_quiet_hours_hold_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    clock, meter = SiteClock(), RecordingMeter()
    limits: dict[str, Any] = {"bytes_per_day_max": 1000, "quiet_hours": ("22:00-06:00",)}
    before = await allowance(tmp_path, clock, **limits)
    await before.spend(300)
    after = await allowance(tmp_path, clock, meter=meter, **limits)
    assert after.state().bytes_spent == 1000 - meter.levels["gateway_cloud_bytes_left_today"] >= 300
    assert after.state().quiet_hours_hold
    clock.trusted = False
    assert not after.state().quiet_hours_hold


async def test_a_rest_is_a_metric(tmp_path: Path) -> None:
    meter = RecordingMeter()
    spent = await allowance(tmp_path, SiteClock(), meter=meter, bytes_per_day_max=1000)
    assert reason(spent) == ""
    assert not meter.levels["gateway_cloud_resting"]
    await spent.spend(1000)
    assert reason(spent) == "daily_budget_spent"
    assert meter.levels["gateway_cloud_resting"]
    assert 0 < (spent.state().rests_for_s or 0) <= DAY_S
