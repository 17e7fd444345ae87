"""The wall clock jumps, both ways, under load. The gateway's process sees it; the SDK's child keeps the real time."""

import random
import time
from datetime import UTC, datetime

from tests.faults.faults import Cycle
from tests.faults.shim import Ailment
from tests.faults.site import Broken, Site

LASTS_S = (0.2, 0.8)
# A correction, a wrong time zone or a dead battery: seconds to hours, then weeks, then beyond every keeping time.
JUMPS_S = ((30, 7200), (86_400, 30 * 86_400), (60 * 86_400, 2000 * 86_400))


FELT_WITHIN_S = 5.0


def _is_off_by(offset_s: float, moment: datetime) -> bool:
    return abs((moment - datetime.now(UTC)).total_seconds() - offset_s) < abs(offset_s) / 2


class ClockJumps:
    """To some other time, and back: so it goes forwards once and backwards once."""

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        site.may_have_pruned = True  # a jump of months makes what the cloud has old enough
        time.sleep(rng.uniform(*LASTS_S))
        offset_s = rng.choice((1, -1)) * rng.randrange(*rng.choice(JUMPS_S))
        site.shim.apply(Ailment(clock_offset_ms=offset_s * 1000))
        site.wait_for_acknowledgements(3, what="after the clock had jumped")
        felt = site.wait_until(lambda: _is_off_by(offset_s, site.newest_received_at()), FELT_WITHIN_S)
        time.sleep(rng.uniform(*LASTS_S))
        site.shim.apply(Ailment())
        site.ledger.take_recovery()
        site.ledger.mark()
        site.wait_for_acknowledgements(3, what="after the clock had jumped back")
        site.check_disk(site.ledger.snapshot())
        recovery_s = site.ledger.take_recovery()
        if recovery_s is None:
            raise Broken("nobody was served after the clock had jumped back")
        return Cycle(recovery_s=recovery_s, felt=felt)
