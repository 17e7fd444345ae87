"""Starts of the machine: times set right afterwards, bounds, and an age that no wall clock moves."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages import ClockState
from gateway.timekeeping.boots import (
    BOOTS_KEPT_MAX,
    OFFSETS_PER_BOOT_MAX,
    BootBook,
    ClockOffset,
    ClockSource,
    ReceivedTime,
    opened,
)

T0 = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
PAST = datetime(1970, 1, 1, 0, 1, 0, tzinfo=UTC)
HOUR = 3600.0
DAY = 24 * HOUR


def started_at(moment: datetime, *, noted_at_s: float = 60.0, source: ClockSource = ClockSource.KERNEL) -> ClockOffset:
    """Return the offset of a boot that began at ``moment``."""
    return ClockOffset(from_boottime_s=noted_at_s, offset_s=moment.timestamp(), source=source)


def first_boot(*, lived_s: float = HOUR, offset: ClockOffset | None = None) -> BootBook:
    book = opened((), boot_id="b1", boottime_s=0.0)
    if offset is not None:
        book = book.with_offset(offset)
    return alive(book, lived_s)


def alive(book: BootBook, until_s: float) -> BootBook:
    """Return the book as a file tells it whose boot was last seen at ``until_s``."""
    from dataclasses import replace

    return BootBook((*book.boots[:-1], replace(book.current, last_boottime_s=until_s)))


def rebooted(book: BootBook, boot_id: str, *, lived_s: float = 1.0) -> BootBook:
    return alive(opened(book.boots, boot_id=boot_id, boottime_s=1.0), lived_s)


def received(book: BootBook, boot: int | None, boottime_s: float | None, *, wall: datetime = PAST) -> ReceivedTime:
    return book.received(boot=boot, boottime_s=boottime_s, wall=wall, is_synced=False)


# --- times --------------------------------------------------------------------------------------------


def test_an_event_before_the_clock_was_set_gets_its_true_time() -> None:
    book = first_boot(offset=started_at(T0, noted_at_s=600))
    assert received(book, 1, 5.25) == ReceivedTime(at=T0 + timedelta(seconds=5.25), clock=ClockState.CORRECTED)


def test_an_event_with_a_right_clock_keeps_its_own_time() -> None:
    book = first_boot(offset=started_at(T0))
    told = book.received(boot=1, boottime_s=5, wall=T0, is_synced=True)
    assert told == ReceivedTime(at=T0, clock=ClockState.SYNCED)


def test_after_a_jump_the_offset_before_it_holds_on() -> None:
    book = first_boot(offset=started_at(T0, noted_at_s=60)).with_offset(
        started_at(T0 + timedelta(hours=1), noted_at_s=900)
    )
    assert received(book, 1, 899).at == T0 + timedelta(seconds=899)
    assert received(book, 1, 901).at == T0 + timedelta(hours=1, seconds=901)


def test_an_offset_says_nothing_of_another_boot() -> None:
    book = rebooted(first_boot(), "b2").with_offset(started_at(T0))
    assert received(book, 1, 5).clock is ClockState.UNSYNCED
    assert received(book, 2, 5).clock is ClockState.CORRECTED


@pytest.mark.parametrize(("boot", "boottime_s"), [(None, None), (None, 5.0), (1, None), (7, 5.0)])
def test_what_has_no_known_boot_stays_as_the_wall_clock_said(boot: int | None, boottime_s: float | None) -> None:
    book = first_boot(offset=started_at(T0))
    assert received(book, boot, boottime_s) == ReceivedTime(at=PAST, clock=ClockState.UNSYNCED)


def test_a_boot_without_a_clock_is_bounded_by_its_neighbours() -> None:
    book = first_boot(lived_s=HOUR, offset=started_at(T0))  # ended at 13:00 or later
    book = rebooted(book, "b2", lived_s=2 * HOUR)  # nobody knows when
    book = rebooted(book, "b3").with_offset(started_at(T0 + timedelta(days=1), noted_at_s=5))
    told = received(book, 2, 60)
    # An hour in boot 1 and a minute in boot 2 have passed; nearly two hours of boot 2 were still to come.
    assert told == ReceivedTime(
        at=PAST,
        clock=ClockState.UNSYNCED,
        after=T0 + timedelta(hours=1, minutes=1),
        before=T0 + timedelta(days=1) - timedelta(hours=2) + timedelta(minutes=1),
    )


def test_bounds_reach_over_several_boots_without_a_clock() -> None:
    book = first_boot(lived_s=HOUR, offset=started_at(T0))
    for n in range(2, 5):
        book = rebooted(book, f"b{n}", lived_s=HOUR)
    told = received(book, 4, 0.0)
    assert (told.after, told.before) == (T0 + timedelta(hours=3), None)


@given(st.lists(st.tuples(st.floats(2, DAY), st.floats(0, 30 * DAY), st.booleans()), min_size=2, max_size=8), st.data())
def test_bounds_hold_and_corrections_are_exact_whatever_happened(
    lives: list[tuple[float, float, bool]], data: st.DataObject
) -> None:
    book: BootBook | None = None
    true_start, starts = T0, []
    for n, (lived_s, off_s, has_clock) in enumerate(lives, 1):
        book = opened((), boot_id="b1", boottime_s=1.0) if book is None else rebooted(book, f"b{n}")
        if has_clock:
            book = book.with_offset(started_at(true_start, noted_at_s=1.5))
        book = alive(book, lived_s)
        starts.append(true_start)
        true_start += timedelta(seconds=lived_s + off_s)
    assert book is not None
    boot = data.draw(st.integers(1, len(lives)))
    boottime_s = data.draw(st.floats(0, lives[boot - 1][0]))
    truth = starts[boot - 1] + timedelta(seconds=boottime_s)
    told, slack = received(book, boot, boottime_s), timedelta(milliseconds=1)
    if lives[boot - 1][2]:
        assert abs(told.at - truth) < slack
    else:
        assert told.after is None or told.after <= truth + slack
        assert told.before is None or truth <= told.before + slack


# --- ages ---------------------------------------------------------------------------------------------


def test_age_begins_with_the_file_and_counts_powered_time_over_boots() -> None:
    book = opened((), boot_id="b1", boottime_s=5000.0)
    assert book.age_s(5000.0) == 0
    assert book.age_s(5600.0) == 600
    again = rebooted(alive(book, 5600.0), "b2")
    assert again.age_s(10.0) == 610


def test_the_same_boot_goes_on_where_it_was() -> None:
    book = first_boot(lived_s=100)
    assert opened(book.boots, boot_id="b1", boottime_s=150.0).age_s(150.0) == 150


def test_a_boot_clock_that_went_back_is_another_boot() -> None:
    book = first_boot(lived_s=100)  # a time namespace, or a /proc that lies
    assert opened(book.boots, boot_id="b1", boottime_s=50.0).age_s(50.0) == 150


def test_without_any_clock_only_powered_time_counts() -> None:
    book = rebooted(first_boot(lived_s=HOUR), "b2")
    assert book.cutoff_s(HOUR, boottime_s=600.0) == pytest.approx(600.0)


def test_time_without_power_counts_between_two_synchronised_boots() -> None:
    book = rebooted(first_boot(lived_s=HOUR, offset=started_at(T0)), "b2")
    book = book.with_offset(started_at(T0 + timedelta(hours=25)))  # 24 hours off
    assert book.boots[1].off_before_s == pytest.approx(24 * HOUR)
    assert book.age_s(600.0) == HOUR + 600  # what is stored is powered time
    # All of the first boot is more than a day old, nothing of the second is.
    assert book.cutoff_s(DAY, boottime_s=600.0) == HOUR
    # Two hours ago the power was off.
    assert book.cutoff_s(2 * HOUR, boottime_s=600.0) == HOUR
    assert book.cutoff_s(300.0, boottime_s=600.0) == HOUR + 300
    # 24 h off and 10 minutes since: 30 minutes more lie within the first boot.
    assert book.cutoff_s(24 * HOUR + 2400, boottime_s=600.0) == pytest.approx(HOUR - 1800)


def test_what_came_in_before_the_clock_was_set_does_not_look_older_afterwards() -> None:
    book = rebooted(first_boot(lived_s=HOUR, offset=started_at(T0)), "b2")
    came_in_s = book.age_s(30.0)
    assert came_in_s > book.cutoff_s(DAY, boottime_s=60.0)
    book = book.with_offset(started_at(T0 + timedelta(days=365)))
    assert came_in_s > book.cutoff_s(DAY, boottime_s=60.0)


def test_a_gap_with_boots_without_a_clock_ages_only_what_lies_before_it() -> None:
    book = rebooted(first_boot(lived_s=HOUR, offset=started_at(T0)), "b2", lived_s=HOUR)
    in_the_gap_s = book.age_s(60.0)
    book = rebooted(book, "b3").with_offset(started_at(T0 + timedelta(days=10)))
    cutoff_s = book.cutoff_s(5 * DAY, boottime_s=60.0)
    assert book.boots[0].last_age_s <= cutoff_s < in_the_gap_s


def test_an_operators_word_measures_no_time_without_power() -> None:
    # An RTC with an empty battery may say anything: nothing may be pruned for it.
    by_setting = started_at(T0 + timedelta(days=3650), source=ClockSource.SETTING)
    book = rebooted(first_boot(offset=started_at(T0)), "b2").with_offset(by_setting)
    assert book.boots[1].off_before_s == 0


def test_a_clock_that_went_back_between_two_boots_takes_nothing_away() -> None:
    book = rebooted(first_boot(offset=started_at(T0)), "b2").with_offset(started_at(T0 - timedelta(days=1)))
    assert book.boots[1].off_before_s == 0


def test_a_second_offset_of_a_boot_ages_nothing() -> None:
    book = rebooted(first_boot(offset=started_at(T0)), "b2").with_offset(started_at(T0 + timedelta(hours=2)))
    jumped = book.with_offset(started_at(T0 + timedelta(days=3650), noted_at_s=120))
    assert jumped.cutoff_s(DAY, boottime_s=600) == book.cutoff_s(DAY, boottime_s=600)


@given(st.lists(st.tuples(st.floats(1, DAY), st.booleans(), st.integers(-400, 4000)), min_size=1, max_size=8))
def test_age_never_goes_back_and_cutoffs_are_ordered(boots: list[tuple[float, bool, int]]) -> None:
    book, last_s = opened((), boot_id="b0", boottime_s=1.0), 0.0
    for n, (lived_s, has_clock, days) in enumerate(boots):
        book = opened(book.boots, boot_id=f"b{n}", boottime_s=1.0)
        if has_clock:
            book = book.with_offset(started_at(T0 + timedelta(days=days), noted_at_s=2))
        age_s = book.age_s(1.0 + lived_s)
        assert age_s >= last_s
        cutoffs = [book.cutoff_s(older_s, boottime_s=1.0 + lived_s) for older_s in (0, 60, HOUR, DAY, 100 * DAY)]
        assert cutoffs == sorted(cutoffs, reverse=True)
        assert cutoffs[0] == pytest.approx(age_s)
        book, last_s = alive(book, 1.0 + lived_s), age_s


# --- bounds of the book -------------------------------------------------------------------------------


def test_the_book_has_a_bound() -> None:
    boots = opened((), boot_id="b1", boottime_s=1.0).boots
    from dataclasses import replace

    many = tuple(replace(boots[0], number=n) for n in range(1, BOOTS_KEPT_MAX + 1))
    book = opened(many, boot_id="another", boottime_s=1.0)
    assert (len(book.boots), book.boots[0].number, book.current.number) == (BOOTS_KEPT_MAX, 2, BOOTS_KEPT_MAX + 1)


def test_a_clock_that_is_pulled_about_keeps_its_first_and_newest_offsets() -> None:
    book = first_boot()
    for n in range(OFFSETS_PER_BOOT_MAX + 50):
        book = book.with_offset(started_at(T0 + timedelta(hours=n), noted_at_s=float(n)))
    kept = [offset.from_boottime_s for offset in book.current.offsets]
    assert (len(kept), kept[0], kept[-1]) == (OFFSETS_PER_BOOT_MAX, 0.0, OFFSETS_PER_BOOT_MAX + 49.0)
