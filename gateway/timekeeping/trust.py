"""When is the wall clock believed? Pure: readings and evidence in, the next state and what happened out.

Synchronised means that a daemon disciplines the kernel's clock now. Believed is more: once it was right, it stays
right for this start of the machine, whatever becomes of the network, until it jumps. (The kernel itself calls a clock
unsynchronised about nine hours after the last word of a time server; a crystal is off by seconds a day, which is good
enough for a result's time, quiet hours and daily budgets.) A jump without evidence ends it until evidence comes.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from gateway.messages import ClockReading
from gateway.timekeeping.boots import ClockOffset, ClockSource

# Slewing moves wall clock and boot clock alike: what is left is a step. A leap second (1 s) is none worth a record.
JUMP_S = 2.0


class TrustMode(StrEnum):
    """``clock.trust``."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class ClockEvent(StrEnum):
    """What a look at the clock brought."""

    NOTHING = "nothing"
    SYNCHRONISED = "synchronised"  # believed now, and was not before
    STEPPED = "stepped"  # believed before and after, with another offset
    CONFIRMED = "confirmed"  # believed as it was, now on better grounds
    JUMPED = "jumped"  # moved without evidence: not believed from here


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the system says. ``is_synchronised``: a daemon disciplines the clock; ``was``: one did since the boot."""

    is_synchronised: bool = False
    was_synchronised: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Doctrine:
    """What is believed on principle. A wall time before ``not_before``, when this software was made, never is."""

    mode: TrustMode
    not_before: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WallTrust:
    """The state of belief within one start of the machine."""

    doctrine: Doctrine
    believed: ClockOffset | None = None
    seen_offset_s: float | None = None
    has_jumped: bool = False

    def believes(self, reading: ClockReading) -> bool:
        """Return whether the wall clock of ``reading`` is right."""
        if self.believed is None or self.doctrine.mode is TrustMode.NEVER:
            return False
        return reading.wall >= self.doctrine.not_before and _equal(reading.offset_s, self.believed.offset_s)

    def judged(self, reading: ClockReading, evidence: Evidence) -> "tuple[WallTrust, ClockEvent]":
        """Return the state after a look, and what it brought."""
        source = self._source(reading, evidence)
        has_moved = self.seen_offset_s is not None and not _equal(reading.offset_s, self.seen_offset_s)
        looked = replace(self, seen_offset_s=reading.offset_s, has_jumped=self.has_jumped or has_moved)
        if source is None:
            return looked, ClockEvent.JUMPED if has_moved else ClockEvent.NOTHING
        was_believed = self.believes(reading)
        if was_believed and not self._is_better(source):
            return looked, ClockEvent.NOTHING
        offset = ClockOffset(from_boottime_s=reading.boottime_s, offset_s=reading.offset_s, source=source)
        if was_believed:
            event = ClockEvent.CONFIRMED
        else:
            event = ClockEvent.SYNCHRONISED if self.believed is None else ClockEvent.STEPPED
        return replace(looked, believed=offset, has_jumped=False), event

    def _source(self, reading: ClockReading, evidence: Evidence) -> ClockSource | None:
        """Return who vouches for this reading, if anybody."""
        mode = self.doctrine.mode
        if mode is TrustMode.NEVER or reading.wall < self.doctrine.not_before:
            return None
        if evidence.is_synchronised:
            return ClockSource.KERNEL
        if mode is TrustMode.ALWAYS:
            return ClockSource.SETTING
        # Says nothing about which wall time it was: good for a first look only.
        is_first_word = self.believed is None and not self.has_jumped
        return ClockSource.SINCE_BOOT if evidence.was_synchronised and is_first_word else None

    def _is_better(self, source: ClockSource) -> bool:
        assert self.believed is not None
        return self.believed.source is ClockSource.SETTING and source is not ClockSource.SETTING


def _equal(offset_s: float, other_s: float) -> bool:
    return abs(offset_s - other_s) <= JUMP_S
