"""What a fault is: something that happens to a loaded site again and again, and leaves it well in between."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tests.faults.equipment import Equipment
from tests.faults.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """One fault and the recovery from it.

    ``recovery_s``: from its end (a kill: from the kill) until devices were served again, or, for a fault of the
    uplink, until what was acknowledged meanwhile had arrived. ``cut_in_flight``: whether it cut a submission off from
    its answer; None where a fault cuts nothing. ``felt``: whether the gateway itself shows that it met the fault.
    """

    recovery_s: float
    cut_in_flight: bool | None = None
    felt: bool = True


class Fault(Protocol):
    """Works on a site whose gateway runs under load, and leaves it so. Every random choice comes from ``rng``."""

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        """Let it happen once. Raises Broken when the gateway does not come through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """A row of the matrix. ``pending`` says why it can't be run yet; then there is nothing to make.

    ``environment``: settings of the gateway that it wants. ``reasons``: those for which an event may be in a tombstone
    instead of the cloud; nowhere else is a tombstone an excuse. ``recount``: compares, once all has arrived, what the
    policies of the row must have done with what the cloud has; raises Broken.
    """

    name: str
    title: str
    make: Callable[[], Fault] | None = None
    needs: frozenset[Equipment] = frozenset()
    environment: Mapping[str, str] = field(default_factory=dict)
    reasons: frozenset[str] = frozenset()
    recount: Callable[[Site], None] | None = None
    pending: str = ""
