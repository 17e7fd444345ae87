"""When the wall clock is believed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.messages import ClockReading
from gateway.timekeeping.boots import ClockOffset, ClockSource
from gateway.timekeeping.trust import JUMP_S, ClockEvent, Doctrine, Evidence, TrustMode, WallTrust

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
RELEASED = datetime(2026, 11, 1, tzinfo=UTC)
NOTHING, SYNCED, ONCE = Evidence(), Evidence(is_synchronised=True), Evidence(was_synchronised=True)


class Watcher:
    """Looks at a clock: ``wall`` is what it says at boottime 0."""

    def __init__(self, mode: TrustMode = TrustMode.AUTO, *, wall: datetime = NOW) -> None:
        self.trust = WallTrust(doctrine=Doctrine(mode=mode, not_before=RELEASED))
        self.wall = wall
        self.boottime_s = 0.0

    def reading(self) -> ClockReading:
        return ClockReading(wall=self.wall + timedelta(seconds=self.boottime_s), boottime_s=self.boottime_s)

    def look(self, evidence: Evidence = NOTHING, *, jump: timedelta = timedelta(), after_s: float = 10) -> ClockEvent:
        self.boottime_s += after_s
        self.wall += jump
        self.trust, event = self.trust.judged(self.reading(), evidence)
        return event

    @property
    def trusts(self) -> bool:
        return self.trust.believes(self.reading())


def test_a_clock_that_nobody_vouches_for_is_not_believed() -> None:
    watcher = Watcher()
    assert (watcher.look(), watcher.trusts) == (ClockEvent.NOTHING, False)


def test_a_synchronised_clock_is_believed() -> None:
    watcher = Watcher()
    assert (watcher.look(SYNCED), watcher.trusts) == (ClockEvent.SYNCHRONISED, True)
    assert watcher.trust.believed is not None
    assert watcher.trust.believed.offset_s == NOW.timestamp()


def test_it_stays_believed_when_the_time_server_is_gone_for_months() -> None:
    watcher = Watcher()
    watcher.look(SYNCED)
    assert (watcher.look(after_s=90 * 86_400), watcher.trusts) == (ClockEvent.NOTHING, True)


def test_a_jump_without_evidence_ends_belief_until_evidence_comes() -> None:
    watcher = Watcher()
    watcher.look(SYNCED)
    assert (watcher.look(jump=timedelta(hours=1)), watcher.trusts) == (ClockEvent.JUMPED, False)
    assert (watcher.look(), watcher.trusts) == (ClockEvent.NOTHING, False)
    assert (watcher.look(SYNCED), watcher.trusts) == (ClockEvent.STEPPED, True)


def test_a_jump_back_to_where_it_was_is_believed_again() -> None:
    watcher = Watcher()
    watcher.look(SYNCED)
    watcher.look(jump=timedelta(days=-300))
    assert (watcher.look(jump=timedelta(days=300)), watcher.trusts) == (ClockEvent.JUMPED, True)


def test_a_stamp_between_the_jump_and_the_next_look_is_not_believed() -> None:
    watcher = Watcher()
    watcher.look(SYNCED)
    watcher.wall += timedelta(hours=1)
    assert not watcher.trusts


def test_a_step_by_the_daemon_makes_a_new_offset() -> None:
    watcher = Watcher()
    watcher.look(SYNCED)
    assert watcher.look(SYNCED, jump=timedelta(minutes=5)) is ClockEvent.STEPPED
    assert watcher.trust.believed is not None
    assert watcher.trust.believed.offset_s == (NOW + timedelta(minutes=5)).timestamp()


def test_slewing_and_a_leap_second_are_no_jump() -> None:
    watcher = Watcher()
    watcher.look(SYNCED)
    assert (watcher.look(jump=timedelta(seconds=-1)), watcher.trusts) == (ClockEvent.NOTHING, True)
    assert JUMP_S > 1


@pytest.mark.parametrize("evidence", [SYNCED, ONCE, NOTHING])
@pytest.mark.parametrize("mode", list(TrustMode))
def test_a_time_before_the_release_is_never_believed(mode: TrustMode, evidence: Evidence) -> None:
    watcher = Watcher(mode, wall=RELEASED - timedelta(days=1))
    assert (watcher.look(evidence), watcher.trusts) == (ClockEvent.NOTHING, False)


def test_what_an_older_version_believed_is_not_believed_before_the_release_of_this_one() -> None:
    watcher = Watcher(wall=RELEASED - timedelta(days=1))
    believed = ClockOffset(from_boottime_s=0, offset_s=watcher.reading().offset_s, source=ClockSource.KERNEL)
    watcher.trust = replace(watcher.trust, believed=believed)
    assert not watcher.trusts


def test_a_board_that_starts_in_1970_is_believed_once_it_is_synchronised() -> None:
    watcher = Watcher(wall=datetime(1970, 1, 1, tzinfo=UTC))
    watcher.look()
    assert watcher.look(SYNCED, jump=NOW - watcher.wall) is ClockEvent.SYNCHRONISED
    assert watcher.trusts


def test_once_synchronised_since_the_boot_is_good_for_a_first_look() -> None:
    watcher = Watcher()
    assert watcher.look(ONCE) is ClockEvent.SYNCHRONISED
    assert watcher.trust.believed is not None
    assert watcher.trust.believed.source is ClockSource.SINCE_BOOT


def test_once_synchronised_is_no_evidence_after_a_jump() -> None:
    watcher = Watcher()
    watcher.look(ONCE)
    assert (watcher.look(ONCE, jump=timedelta(days=1)), watcher.trusts) == (ClockEvent.JUMPED, False)


def test_always_believes_a_clock_without_a_time_server_and_its_jumps() -> None:
    watcher = Watcher(TrustMode.ALWAYS)
    assert (watcher.look(), watcher.trusts) == (ClockEvent.SYNCHRONISED, True)
    assert (watcher.look(jump=timedelta(days=-3)), watcher.trusts) == (ClockEvent.STEPPED, True)
    assert watcher.trust.believed is not None
    assert watcher.trust.believed.source is ClockSource.SETTING


def test_always_is_confirmed_by_a_time_server_when_there_is_one_after_all() -> None:
    watcher = Watcher(TrustMode.ALWAYS)
    watcher.look()
    assert watcher.look(SYNCED) is ClockEvent.CONFIRMED
    assert watcher.look(SYNCED) is ClockEvent.NOTHING


def test_never_believes_nothing() -> None:
    watcher = Watcher(TrustMode.NEVER)
    assert (watcher.look(SYNCED), watcher.trusts) == (ClockEvent.NOTHING, False)
