"""Whether a commit waits a moment for company. Pure.

What comes in during a sync is the next group, by itself. On a card that takes 20 ms for a sync that is not enough:
the first acknowledged device is back at once and its request goes alone, while all others wait for that sync too. So
where syncs are slow and requests have company, the first waits until as many are there as lately came together, and
at most as long as a sync takes: fewer syncs, less wear, more results a second. A fast disk never waits, and neither
does a lone device.

Pictures that others queue behind for the classifier are another matter: their company is certain, and they have waited
for longer than this already. They wait for each other on any disk, up to PICTURES_WAIT_S, before they are handed to the
writer: a commit of one costs 250 us of CPU, of four 95 each.
"""

from dataclasses import dataclass

# SSDs and eMMC sync in 0.1 to 3 ms, SD cards in 10 to 100: below this a wait would cost more than it saves.
SLOW_SYNC_S = 0.005
# A wait that a device notices would be worse than a sync more.
GATHER_MAX_S = 0.05
# Two pictures at least on two cores of a desktop; three on a Pi's four.
PICTURES_WAIT_S = 0.02
# Beyond it a commit of more saves nothing worth a wait.
PICTURES_MAX = 16
# Of a new measurement in the average: about the last ten count.
WEIGHT = 0.2
# How fast a crowd that is gone is forgotten, per commit: 32 devices in about 26.
COMPANY_KEPT = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What the last commits were like. ``sync_s`` is a moving average; ``company`` how many requests came together."""

    sync_s: float = 0.0
    company: float = 0.0

    def after(self, *, sync_s: float, group: int, waiting: int) -> "Pace":
        """Return the pace after a commit of ``group`` requests, while ``waiting`` others came in."""
        # One hiccup (a checkpoint, another program's sync) must not make a fast disk look slow.
        counted_s = min(sync_s, 2 * self.sync_s + SLOW_SYNC_S)
        return Pace(
            sync_s=self.sync_s + WEIGHT * (counted_s - self.sync_s),
            company=max(group + waiting, self.company * COMPANY_KEPT),
        )

    def wait_s(self, group: int) -> float:
        """Return how long a group of this size may wait for more, counted from its first request; 0: not at all."""
        if self.sync_s < SLOW_SYNC_S or group >= int(self.company):
            return 0.0
        return min(self.sync_s, GATHER_MAX_S)
