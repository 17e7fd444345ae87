"""The uplink: each lasts until the gateway has felt it and a while longer, under load; then the backlog must arrive."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from tests.faults.faults import Cycle
from tests.faults.site import Broken, Site

# Longest to be felt: a silent line, after the send timeout (2 s here) or twice the keep-alive (5 s).
FELT_WITHIN_S = 20.0
LASTS_S = (0.1, 0.8)
WELL_S = (0.1, 0.5)
THROTTLED_S = 0.5

Trouble = Callable[[Site, random.Random], AbstractContextManager[None]]


class UplinkFault:
    """``trouble`` is entered where the fault begins and left where it ends."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        site.wait_for_arrival(site.ledger.snapshot())
        time.sleep(rng.uniform(*WELL_S))
        before = site.sessions_ended()
        with self._trouble(site, rng):
            felt = site.wait_until(lambda: site.sessions_ended() > before, FELT_WITHIN_S)
            time.sleep(rng.uniform(*LASTS_S))
            site.wait_for_acknowledgements(what="while the uplink was down")
        due, ended_at = site.ledger.snapshot(), time.monotonic()
        site.wait_for_arrival(due)
        return Cycle(recovery_s=time.monotonic() - ended_at, felt=felt)


@contextmanager
def refused(site: Site, rng: random.Random) -> Iterator[None]:
    site.uplink.refuse()
    yield
    site.uplink.accept()


@contextmanager
def dns_dead(site: Site, rng: random.Random) -> Iterator[None]:
    site.resolver.die()
    site.hub.kick()
    yield
    site.resolver.live()


@contextmanager
def half_open(site: Site, rng: random.Random) -> Iterator[None]:
    site.uplink.silence(silent=True)
    yield
    site.uplink.silence(silent=False)


@contextmanager
def reset_during_writes(site: Site, rng: random.Random) -> Iterator[None]:
    site.uplink.reset_after(rng.randrange(1, 20_000))
    yield
    site.uplink.reset_after(None)


def hub_fault(*, kick: bool, **faults: int | float | bool) -> Trouble:
    """Return a trouble that the stand-in makes; ``kick`` ends the session that runs, so that the next one meets it."""

    @contextmanager
    def trouble(site: Site, rng: random.Random) -> Iterator[None]:
        site.hub.set_faults(**faults)
        if kick:
            site.hub.kick()
        yield
        site.hub.set_faults()

    return trouble


@contextmanager
def throttled(site: Site, rng: random.Random) -> Iterator[None]:
    site.hub.set_faults(reject_connect=3)
    site.hub.kick()
    yield
    # It lets us in again, and is slow for a while.
    site.hub.set_faults(puback_delay_s=0.2)
    time.sleep(THROTTLED_S)
    site.hub.set_faults()


@contextmanager
def credentials_revoked(site: Site, rng: random.Random) -> Iterator[None]:
    device = site.hub.hub.devices["gw1"]
    keys = device.primary_key, device.secondary_key
    device.primary_key = device.secondary_key = "bm90IHRoZSBrZXkgYW55IG1vcmU="
    site.hub.kick()
    yield
    device.primary_key, device.secondary_key = keys


@contextmanager
def sdk_child_killed(site: Site, rng: random.Random) -> Iterator[None]:
    _signal_child(site, signal.SIGKILL)
    yield


@contextmanager
def sdk_child_hung(site: Site, rng: random.Random) -> Iterator[None]:
    _signal_child(site, signal.SIGSTOP)
    yield


def _signal_child(site: Site, number: signal.Signals) -> None:
    if not site.wait_until(lambda: bool(site.sdk_children()), FELT_WITHIN_S):
        raise Broken("the gateway has no SDK process")
    for pid in site.sdk_children():
        with suppress(ProcessLookupError):
            os.kill(pid, number)
