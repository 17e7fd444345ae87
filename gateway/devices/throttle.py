"""How long an address that sends wrong secrets must wait. Pure: the time is given.

The first FREE_FAILURES cost nothing (a device with an old token after a change); then the wait doubles with each, up to
WAIT_MAX_S. FORGET_S without a failure forgets. Addresses beyond SOURCES_MAX push out those that failed
longest ago: an attacker with that many addresses is slowed down by the secrets' length alone.

Over IPv6 a host may choose among the 2**64 addresses of its subnet: failures of all of them count for the subnet, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.networks import subnet_of

FREE_FAILURES = 5
# For a whole subnet of IPv6: as many as eight devices have, since a site's devices are all on it.
SUBNET_FREE_FAILURES = 8 * FREE_FAILURES
WAIT_FIRST_S = 1.0
WAIT_MAX_S = 300.0
FORGET_S = 3600.0
SOURCES_MAX = 4096


@dataclass(slots=True)
class _Source:
    failures: int
    last_s: float


class Throttle:
    """Failures by source."""

    def __init__(self) -> None:
        self._sources: dict[str, _Source] = {}

    def wait_s(self, source: str, now_s: float) -> float:
        """Return how long ``source`` has to wait from now; 0 if it may try."""
        return max(self._wait_s(name, free, now_s) for name, free in _counted(source))

    def _wait_s(self, name: str, free: int, now_s: float) -> float:
        known = self._sources.get(name)
        if known is None or known.failures < free:
            return 0.0
        wait_s = min(WAIT_MAX_S, WAIT_FIRST_S * 2.0 ** min(known.failures - free, 16))
        return max(0.0, known.last_s + wait_s - now_s)

    def failed(self, source: str, now_s: float) -> None:
        """Note a wrong secret."""
        for name, _ in _counted(source):
            known = self._sources.pop(name, None)
            if known is None or now_s - known.last_s > FORGET_S:
                known = _Source(0, now_s)
            known.failures += 1
            known.last_s = now_s
            self._sources[name] = known
        while len(self._sources) > SOURCES_MAX:
            del self._sources[next(iter(self._sources))]

    def forgiven(self, source: str) -> None:
        """Take back the last failure: it was none. What failed before still counts, whoever it was."""
        for name, _ in _counted(source):
            known = self._sources.get(name)
            if known is not None:
                known.failures -= 1
                if known.failures <= 0:
                    del self._sources[name]

    def __len__(self) -> int:
        return len(self._sources)


def _counted(source: str) -> Iterator[tuple[str, int]]:
    """Yield what a failure of ``source`` counts for, and how many of its are free."""
    yield source, FREE_FAILURES
    subnet = subnet_of(source)
    if "/" in subnet:
        yield subnet, SUBNET_FREE_FAILURES
