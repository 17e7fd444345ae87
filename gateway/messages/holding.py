"""What a policy may do with an event: its priority, and what may keep it from being sent."""

from dataclasses import dataclass
from enum import StrEnum

# 0 is the highest and 9 the lowest, as in the routes of IoT Edge; without a policy everything is in the middle.
PRIORITY_HIGHEST = 0
PRIORITY_LOWEST = 9
PRIORITY_DEFAULT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class OnChange:
    """Send what differs from the last one sent; ``max_s``: and one that old nevertheless (None: never).

    ``band``: numbers that differ by no more are equal. ``values``: the values of a reading that count; empty: all.
    """

    max_s: float | None
    band: float = 0.0
    values: tuple[str, ...] = ()


class SummaryMode(StrEnum):
    """Whether single results are sent as well."""

    INSTEAD = "instead"
    BESIDES = "besides"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarise:
    """Count an event in its device's window, which closes ``window_s`` (powered time) after its first event."""

    mode: SummaryMode
    window_s: float
