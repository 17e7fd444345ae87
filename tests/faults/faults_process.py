"""kill -9 of the whole gateway, at any moment and at the named points of gateway/failpoints.py."""

import random
import time
from collections.abc import Mapping
from dataclasses import replace

from tests.faults.faults import Cycle
from tests.faults.site import Broken, Site

# A life between two kills: long enough that the SDK's process connects in some of them.
LIFE_S = (0.02, 1.2)
# A point that is not passed in this time is not passed in this life: an ordinary kill ends it.
POINT_WAIT_S = 15.0
# Each with the highest pass at which it kills. These are passed whatever the uplink does,
COMMIT_POINTS = {"outbox_before_commit": 40, "outbox_after_commit": 40}
# and these while it delivers.
POINTS = COMMIT_POINTS | {
    "outbox_before_mark_delivered": 15,
    "outbox_after_mark_delivered": 15,
    "outbox_during_prune": 2,
}
# So small a file that what the cloud has must make room all the time, or there would be no pruning in a short life.
SMALL_FILE = {"GATEWAY_OUTBOX__ROWS_MAX": "200"}


# Evicted events become remembered ids on the same way as those that the cloud has.
EVICT_POINTS = COMMIT_POINTS | {"outbox_during_prune": 4}
EVICT_ROWS_MAX = 20
EVICTED = frozenset({"evicted"})
EVICTING = {"GATEWAY_OUTBOX__ROWS_MAX": str(EVICT_ROWS_MAX), "GATEWAY_OUTBOX__WHEN_FULL": "evict_oldest"}


class RandomKill:
    """At any moment."""

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        time.sleep(rng.uniform(*LIFE_S))
        cut_before, killed_at = site.ledger.cut_short, time.monotonic()
        site.kill()
        return come_back(site, cut_before, since=killed_at)


class KillAtPoint:
    """At a named point, at a pass of it that is drawn; the life that ends so is started here."""

    def __init__(self, points: Mapping[str, int]) -> None:
        self._points = points

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        site.may_have_pruned = True
        site.kill()
        point = rng.choice(list(self._points))
        gateway = site.start(failpoint=f"{point}:{rng.randrange(1, self._points[point] + 1)}")
        # Read here: what the kill above cut short has been noticed, and is not counted.
        cut_before = site.ledger.cut_short
        passed = site.wait_until(lambda: not gateway.running(), POINT_WAIT_S)
        killed_at = time.monotonic()
        site.kill()
        return replace(come_back(site, cut_before, since=killed_at), felt=passed)


class KillWhileEvicting:
    """At a named point, with the uplink down and a file so full that the oldest make room for each submission."""

    def __init__(self) -> None:
        self._kill = KillAtPoint(EVICT_POINTS)

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        site.uplink.refuse()
        try:
            site.wait_for_acknowledgements(
                rng.randrange(EVICT_ROWS_MAX, 2 * EVICT_ROWS_MAX), what="while the oldest make room"
            )
            done = self._kill.cycle(site, rng)
        finally:
            site.uplink.accept()
        return replace(done, felt=done.felt and bool(site.told()))


def come_back(site: Site, cut_before: int, *, since: float) -> Cycle:
    """Start the gateway again and return what the cut did. Recovery counts from ``since``, when it was cut."""
    site.ledger.mark_since(since)
    site.start()
    site.wait_for_acknowledgements(what="after a restart")
    site.check_disk(site.ledger.snapshot())
    recovery_s = site.ledger.take_recovery()
    if recovery_s is None:
        raise Broken("devices were served before the gateway was back")
    return Cycle(recovery_s=recovery_s, cut_in_flight=site.ledger.cut_short > cut_before)
