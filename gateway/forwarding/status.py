"""What others may know of the forwarder: a value for logs, health and the command line."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class UplinkState(StrEnum):
    """Where the forwarder stands with the hub."""

    DISCONNECTED = "disconnected"  # not started yet
    CONNECTING = "connecting"
    CONNECTED = "connected"
    BACKING_OFF = "backing_off"
    RESTING = "resting"  # quiet hours, or the day's bytes are spent
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwarderStatus:
    """A snapshot. ``reason`` says why the last session ended; ``attempts`` counts failures since an acknowledgement."""

    state: UplinkState
    reason: str
    since: datetime
    last_acknowledged_at: datetime | None
    attempts: int
    next_attempt_in_s: float | None
