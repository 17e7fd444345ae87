"""What happens at the demo's site, and when. Pure and seeded: the same seed is the same story."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Happening(StrEnum):
    """What is done to the site."""

    UPLINK_DOWN = "uplink down"
    UPLINK_UP = "uplink up"
    KILL = "kill -9 of the gateway"
    RESTART = "restart of the gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A happening, seconds after the start."""

    at_s: float
    what: Happening


# Enough for a queue to be seen growing, and to be seen draining.
OUTAGE_S = (6.0, 15.0)
GAP_S = (5.0, 12.0)
KILL_EVERY_S = (12.0, 25.0)
# Every third time the gateway is stopped politely instead.
POLITE_SHARE = 1 / 3
# The last part of the time is quiet, so that the story ends with everything delivered.
QUIET_SHARE = 0.15


def timeline(*, duration_s: float, seed: int, kills: bool) -> Sequence[Moment]:
    """Return the happenings in order; the uplink is up at the end."""
    rng = random.Random(seed)  # noqa: S311  a story, not a secret
    loud_s = duration_s * (1 - QUIET_SHARE)
    moments: list[Moment] = []
    at_s = rng.uniform(*GAP_S)
    while at_s < loud_s:
        outage_s = min(rng.uniform(*OUTAGE_S), loud_s - at_s)
        moments += [
            Moment(at_s=at_s, what=Happening.UPLINK_DOWN),
            Moment(at_s=at_s + outage_s, what=Happening.UPLINK_UP),
        ]
        at_s += outage_s + rng.uniform(*GAP_S)
    at_s = rng.uniform(*KILL_EVERY_S)
    while kills and at_s < loud_s:
        polite = rng.random() < POLITE_SHARE
        moments.append(Moment(at_s=at_s, what=Happening.RESTART if polite else Happening.KILL))
        at_s += rng.uniform(*KILL_EVERY_S)
    return tuple(sorted(moments, key=lambda moment: moment.at_s))
