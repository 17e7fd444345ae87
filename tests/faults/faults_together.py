"""Faults in company: one of the gateway or its disk while the uplink is in trouble; and several one after the other."""

import random
from collections.abc import Sequence

from tests.faults.faults import Cycle, Fault
from tests.faults.faults_uplink import Trouble
from tests.faults.site import Site


class Everything:
    """Any fault, with any trouble of the uplink around it half of the time; then all that is due must arrive."""

    def __init__(self, faults: Sequence[Fault], troubles: Sequence[Trouble]) -> None:
        self._faults = faults
        self._troubles = troubles

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        fault, trouble = rng.choice(self._faults), rng.choice(self._troubles)
        if rng.random() < 0.5:
            cycle = fault.cycle(site, rng)
        else:
            with trouble(site, rng):
                cycle = fault.cycle(site, rng)
        site.wait_for_arrival(site.ledger.snapshot())
        return cycle


class OneAfterTheOther:
    """Each of some faults in turn, on one site."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = faults
        self._next = 0

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        fault = self._faults[self._next % len(self._faults)]
        self._next += 1
        return fault.cycle(site, rng)
