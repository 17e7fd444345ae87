"""The watch: stamps, and what is written down when the clock is found right or has jumped."""

from datetime import UTC, datetime, timedelta

from gateway.errors import DiskUnavailable
from gateway.timekeeping.boots import ClockOffset
from gateway.timekeeping.trust import Doctrine, Evidence, TrustMode
from gateway.timekeeping.watch import ClockWatch
from tests.fakes.outbox_parts import KeptMeter, StillClock

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
RELEASED = datetime(2026, 1, 1, tzinfo=UTC)


class Site:
    """A watch with everything around it in reach."""

    def __init__(self, *, believed: ClockOffset | None = None) -> None:
        self.clock = StillClock()
        self.meter = KeptMeter()
        self.is_synchronised = False
        self.disk_fails = False
        self.jump_while_looking = timedelta()
        self.noted: list[ClockOffset] = []
        self.corrected = 0
        self.watch = ClockWatch(
            clock=self.clock,
            evidence=self.evidence,
            doctrine=Doctrine(mode=TrustMode.AUTO, not_before=RELEASED),
            believed=believed,
            keeper=self,
            meter=self.meter,
            on_corrected=self.on_corrected,
        )

    def evidence(self) -> Evidence:
        self.clock.jump(self.jump_while_looking)
        return Evidence(is_synchronised=self.is_synchronised)

    def on_corrected(self) -> None:
        self.corrected += 1

    async def note_offset(self, offset: ClockOffset) -> None:
        if self.disk_fails:
            raise DiskUnavailable("full")
        self.noted.append(offset)


async def test_an_offset_is_noted_once_when_the_clock_becomes_synchronised() -> None:
    site = Site()
    await site.watch.look()
    assert (site.noted, site.watch.wall_clock_trusted()) == ([], False)
    site.is_synchronised = True
    await site.watch.look()
    await site.watch.look()
    assert [offset.offset_s for offset in site.noted] == [site.clock.reading().offset_s]
    assert (site.corrected, site.watch.wall_clock_trusted()) == (1, True)
    assert site.meter.levels[("gateway_clock_trusted",)] == 1


async def test_stamps_tell_whether_the_clock_was_right_at_that_moment() -> None:
    site = Site()
    site.is_synchronised = True
    await site.watch.look()
    assert site.watch.stamp().is_synced
    site.clock.jump(timedelta(hours=-2))
    stamp = site.watch.stamp()
    assert (stamp.is_synced, stamp.reading) == (False, site.clock.reading())


async def test_a_jump_is_counted_and_not_noted() -> None:
    site = Site()
    site.is_synchronised = True
    await site.watch.look()
    site.is_synchronised = False
    site.clock.jump(timedelta(days=400))
    await site.watch.look()
    assert (len(site.noted), site.meter.counts["gateway_clock_jumps_total"]) == (1, 1)
    assert (site.watch.status.is_trusted, site.watch.status.source, site.watch.status.jumps) == (False, None, 1)


async def test_what_a_full_disk_refused_is_noted_at_the_next_look() -> None:
    site = Site()
    site.is_synchronised = site.disk_fails = True
    await site.watch.look()
    assert (site.noted, site.corrected, site.watch.stamp().is_synced) == ([], 0, True)
    site.disk_fails = False
    await site.watch.look()
    assert (len(site.noted), site.corrected) == (1, 1)


async def test_evidence_from_the_moment_of_a_jump_counts_for_nothing() -> None:
    # The system says "synchronised", then the clock is set by hand: the word was for the other time.
    site = Site()
    site.is_synchronised = True
    site.jump_while_looking = timedelta(days=1)
    await site.watch.look()
    assert (site.noted, site.watch.wall_clock_trusted()) == ([], False)


async def test_a_restart_goes_on_believing_what_this_boot_knew() -> None:
    before = Site()
    before.is_synchronised = True
    await before.watch.look()
    after = Site(believed=before.noted[0])  # nine hours later the kernel vouches no more
    await after.watch.look()
    assert (after.watch.wall_clock_trusted(), after.noted) == (True, [])


async def test_after_a_jump_the_best_time_is_what_the_clock_said_before() -> None:
    site = Site()
    site.clock.wall = datetime(1970, 1, 1, tzinfo=UTC)
    assert site.watch.now() == site.clock.wall
    site.clock.wall = NOW
    site.is_synchronised = True
    await site.watch.look()
    site.clock.jump(timedelta(days=-300))
    site.clock.advance(timedelta(seconds=5))
    assert site.watch.now() == NOW + timedelta(seconds=5)
