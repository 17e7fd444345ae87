"""kill -9 of the whole gateway, at any moment and at the named points of gateway/failpoints.py."""

import contextlib
import random
import subprocess
import time

from tests.faults.faults import Cycle
from tests.faults.site import Broken, Site

# A life between two kills: long enough that the SDK's process connects in some of them.
LIFE_S = (0.02, 1.2)
# A point that is not passed in this time is not passed in this life: an ordinary kill ends it.
POINT_WAIT_S = 4.0
POINTS = (
    "outbox_before_commit",
    "outbox_after_commit",
    "outbox_before_mark_delivered",
    "outbox_after_mark_delivered",
)


class RandomKill:
    """At any moment."""

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        time.sleep(rng.uniform(*LIFE_S))
        cut_before = site.ledger.cut_short
        site.ledger.mark()
        site.kill()
        return come_back(site, cut_before)


class KillAtPoint:
    """At a named point, at a pass of it that is drawn; the life that ends so is started here."""

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        site.kill()
        gateway = site.start(failpoint=f"{rng.choice(POINTS)}:{rng.randrange(2, 60)}")
        # Read here: what the kill above cut short has been noticed, and is not counted.
        cut_before = site.ledger.cut_short
        with contextlib.suppress(subprocess.TimeoutExpired):
            gateway.wait(POINT_WAIT_S)
        site.ledger.mark()
        site.kill()
        return come_back(site, cut_before)


def come_back(site: Site, cut_before: int) -> Cycle:
    """Start the gateway again and return what the cut did. The ledger's clock runs already."""
    site.start()
    site.wait_for_acknowledgements(what="after a restart")
    site.check_disk(site.ledger.snapshot())
    recovery_s = site.ledger.take_recovery()
    if recovery_s is None:
        raise Broken("devices were served before the gateway was back")
    return Cycle(recovery_s=recovery_s, cut_in_flight=site.ledger.cut_short > cut_before)
