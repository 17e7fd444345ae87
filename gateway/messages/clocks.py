"""When something came in, and what the wall clock was worth then."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ClockState(StrEnum):
    """How far an event's ``received_at`` can be believed."""

    SYNCED = "synced"  # the wall clock was right when it was read
    CORRECTED = "corrected"  # set right afterwards, from the time since the machine started
    UNSYNCED = "unsynced"  # what the wall clock said; compare it with no other


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """The wall clock (UTC) and the time since the machine started, read at one moment."""

    wall: datetime
    boottime_s: float

    @property
    def offset_s(self) -> float:
        """Unix time at which the machine started, if the wall clock is right: it changes only when the clock jumps."""
        return self.wall.timestamp() - self.boottime_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """A reading, and whether the wall clock could be believed then."""

    reading: ClockReading
    is_synced: bool
