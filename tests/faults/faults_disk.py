"""The disk: power cuts, full, removed, read-only."""

import random
import time

from tests.faults.disk import Disk
from tests.faults.faults import Cycle
from tests.faults.faults_process import come_back
from tests.faults.site import Site

LIFE_S = (0.05, 1.2)


class PowerCut:
    """Everything stops at one moment; what was not on the disk is gone; the gateway starts on what was.

    The gateway is frozen and the image copied; then everything of it is killed and life goes on on the copy.
    """

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        disk = disk_of(site)
        time.sleep(rng.uniform(*LIFE_S))
        cut_before = site.ledger.cut_short
        site.freeze()
        copy = site.folder / "cut.img"
        disk.snapshot(copy)
        site.kill()
        disk.replace(copy)
        site.ledger.mark()
        return come_back(site, cut_before)


def disk_of(site: Site) -> Disk:
    """Return the site's disk; a plan that works on one has asked for it."""
    assert site.disk is not None, "the plan of this fault needs_disk"
    return site.disk
