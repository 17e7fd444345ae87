"""The disk: power cuts, full, removed, read-only."""

import random
import time
from pathlib import Path

from tests.faults.faults import Cycle
from tests.faults.faults_process import come_back
from tests.faults.shim import Ailment
from tests.faults.site import Broken, Site

LIFE_S = (0.05, 1.2)
SLOW_SYNC_MS = 700
FELT_WITHIN_S = 8.0
LASTS_S = (0.1, 1.0)


class PowerCut:
    """Everything stops at one moment; what was not on the disk is gone; the gateway starts on what was.

    The gateway is frozen and the image copied; then everything of it is killed and life goes on on the copy.
    """

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        time.sleep(rng.uniform(*LIFE_S))
        cut_before = site.ledger.cut_short
        copy = cut_power(site)
        site.kill()
        site.disk.replace(copy)
        return come_back(site, cut_before, since=time.monotonic())


def cut_power(site: Site) -> Path:
    """Freeze the gateway and return a copy of what is on its disk at that moment."""
    site.freeze()
    copy = site.folder / "cut.img"
    site.disk.snapshot(copy)
    return copy


class KillThenPowerCut:
    """kill -9 while an fsync is under way, and the power fails right after the next life's first acknowledgement.

    What the first life had written and not synced is in the kernel's memory, so the second life finds it: it must not
    tell a device that it is on disk because of that.
    """

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        time.sleep(rng.uniform(*LIFE_S))
        site.shim.apply(Ailment(sync_delay_ms=SLOW_SYNC_MS))
        time.sleep(rng.uniform(0.2, 1.0) * SLOW_SYNC_MS / 1000)
        cut_before = site.ledger.cut_short
        site.kill()
        site.start()
        site.wait_for_acknowledgements(what="after a kill during an fsync")
        copy = cut_power(site)
        site.kill()
        site.disk.replace(copy)
        site.shim.apply(Ailment())
        return come_back(site, cut_before, since=time.monotonic())


class _Ailing:
    """A disk that is ill for a while under load: until the gateway has felt it, and a while longer."""

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        time.sleep(rng.uniform(*LIFE_S))
        before = self.signs(site)
        self.begin(site, rng)
        felt = site.wait_until(lambda: self.signs(site) > before, FELT_WITHIN_S)
        time.sleep(rng.uniform(*LASTS_S))
        self.end(site)
        site.ledger.take_recovery()
        site.ledger.mark()
        site.wait_for_acknowledgements(what="after the disk was well again")
        site.check_disk(site.ledger.snapshot())
        recovery_s = site.ledger.take_recovery()
        if recovery_s is None:
            raise Broken("nobody was served after the disk was well again")
        return Cycle(recovery_s=recovery_s, felt=felt)

    def begin(self, site: Site, rng: random.Random) -> None:
        raise NotImplementedError

    def end(self, site: Site) -> None:
        raise NotImplementedError

    def signs(self, site: Site) -> int:
        """Return a count that grows as the gateway feels the fault."""
        return site.logged("outbox_write_failed") + site.logged("submission_deferred")


class FullDisk(_Ailing):
    """Not a block is free."""

    def begin(self, site: Site, rng: random.Random) -> None:
        site.disk.fill()

    def end(self, site: Site) -> None:
        site.disk.empty()


class CardRemoved(_Ailing):
    """The card falls out (EXT4_IOC_SHUTDOWN, what was not synced is gone) and is put back."""

    def begin(self, site: Site, rng: random.Random) -> None:
        with site.frozen():
            site.disk.remove()

    def end(self, site: Site) -> None:
        site.disk.reseat()


class ReadOnly(_Ailing):
    """ext4 finds an error and makes itself read-only; the card is mounted anew."""

    def begin(self, site: Site, rng: random.Random) -> None:
        with site.frozen():
            site.disk.fail()

    def end(self, site: Site) -> None:
        site.disk.reseat()


class _Shimmed(_Ailing):
    """By the preloaded library."""

    def end(self, site: Site) -> None:
        site.shim.apply(Ailment())

    def signs(self, site: Site) -> int:
        return site.shim.felt


class FailingSyncs(_Shimmed):
    """fsync and writes fail with EIO: now and then, or all of them."""

    def begin(self, site: Site, rng: random.Random) -> None:
        share = rng.choice((10, 50, 100))
        site.shim.apply(
            rng.choice(
                (
                    Ailment(sync_eio_percent=share),
                    Ailment(write_eio_percent=share),
                    Ailment(sync_eio_percent=share, write_eio_percent=share),
                )
            )
        )


class SlowSyncs(_Shimmed):
    """Each fsync takes as long as on a worn card."""

    def begin(self, site: Site, rng: random.Random) -> None:
        site.shim.apply(Ailment(sync_delay_ms=rng.randrange(50, 800)))
