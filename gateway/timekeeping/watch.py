"""Watches the wall clock: stamps events, and notes in the outbox when the clock is found right, or has jumped.

Between two looks a stamp is still true: it compares its own reading with what is believed. What can't be written down
now (a full disk) is tried again at the next look; meanwhile stamps are right all the same.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from gateway.errors import Unavailable
from gateway.messages import Stamp
from gateway.ports import BootClock, Meter
from gateway.timekeeping.boots import ClockOffset
from gateway.timekeeping.trust import ClockEvent, Doctrine, Evidence, TrustMode, WallTrust

log = structlog.get_logger(__name__)

# A time server's first answer is noticed within this; quiet hours need no more.
LOOK_EVERY_S = 10.0
# A reading before and one after the evidence: further apart than this, the clock moved in between.
STILL_S = 0.5


class OffsetKeeper(Protocol):
    """Where offsets are kept, so that times of stored events can be set right."""

    async def note_offset(self, offset: ClockOffset) -> None:
        """Return when the offset is on disk and used for what is read from now on. Raises Unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStatus:
    """For health and the command line. ``source`` says who vouches for the wall clock; None: nobody."""

    is_trusted: bool
    source: str | None
    jumps: int
    now: datetime


class ClockWatch:
    """A Timekeeper, and a Clock with the best time that is known.

    ``await look()`` once before stamps are wanted, then ``run()``.
    """

    def __init__(
        self,
        *,
        clock: BootClock,
        evidence: Callable[[], Evidence],
        doctrine: Doctrine,
        believed: ClockOffset | None,
        keeper: OffsetKeeper,
        meter: Meter,
        on_corrected: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._evidence = evidence
        self._trust = WallTrust(doctrine=doctrine, believed=believed)
        self._keeper = keeper
        self._meter = meter
        self._on_corrected = on_corrected
        self._unnoted: ClockOffset | None = None
        self._jumps = 0

    def stamp(self) -> Stamp:
        """Return the time now, and whether the wall clock can be believed."""
        reading = self._clock.reading()
        return Stamp(reading=reading, is_synced=self._trust.believes(reading))

    def now(self) -> datetime:
        """Return the best that is known of the time: by the wall clock, or by what it was before it jumped."""
        reading, trust = self._clock.reading(), self._trust
        if trust.believed is None or trust.doctrine.mode is TrustMode.NEVER or trust.believes(reading):
            return reading.wall
        return trust.believed.time_at(reading.boottime_s)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._clock.monotonic()

    def wall_clock_trusted(self) -> bool:
        """Return whether the wall clock is right now."""
        return self.stamp().is_synced

    @property
    def status(self) -> ClockStatus:
        """Return where the clock stands."""
        stamp, believed = self.stamp(), self._trust.believed
        return ClockStatus(
            is_trusted=stamp.is_synced,
            source=believed.source.value if stamp.is_synced and believed is not None else None,
            jumps=self._jumps,
            now=stamp.reading.wall,
        )

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look once: judge, tell, note. Never raises for a disk that fails."""
        before = self._clock.reading()
        evidence = self._evidence()
        reading = self._clock.reading()
        if abs(reading.offset_s - before.offset_s) > STILL_S:
            return  # it moves this moment: the evidence may be for either; the next look tells
        self._trust, event = self._trust.judged(reading, evidence)
        self._tell(event)
        if event in {ClockEvent.SYNCHRONISED, ClockEvent.STEPPED, ClockEvent.CONFIRMED}:
            self._unnoted = self._trust.believed
        await self._note()

    def _tell(self, event: ClockEvent) -> None:
        if event in {ClockEvent.STEPPED, ClockEvent.JUMPED}:
            self._jumps += 1
            self._meter.count("gateway_clock_jumps_total")
        trusted = self.wall_clock_trusted()
        self._meter.level("gateway_clock_trusted", float(trusted))
        if event is not ClockEvent.NOTHING:
            log.info("clock_changed", what=event.value, trusted=trusted, now=self._clock.now().isoformat())

    async def _note(self) -> None:
        if self._unnoted is None:
            return
        try:
            await self._keeper.note_offset(self._unnoted)
        except Unavailable as error:
            log.warning("clock_offset_not_noted", error=str(error))
            return
        self._unnoted = None
        self._on_corrected()
