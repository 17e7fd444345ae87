"""How long an address that sends wrong secrets must wait. Pure: the time is given.

The first FREE_FAILURES cost nothing (a device with an old token after a change); then the wait doubles with each, up to
WAIT_MAX_S. FORGET_S without a failure forgets. Addresses beyond SOURCES_MAX push out those that failed
longest ago: an attacker with that many addresses is slowed down by the secrets' length alone.
"""

from dataclasses import dataclass

FREE_FAILURES = 5
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
        known = self._sources.get(source)
        if known is None or known.failures < FREE_FAILURES:
            return 0.0
        wait_s = min(WAIT_MAX_S, WAIT_FIRST_S * 2.0 ** min(known.failures - FREE_FAILURES, 16))
        return max(0.0, known.last_s + wait_s - now_s)

    def failed(self, source: str, now_s: float) -> None:
        """Note a wrong secret."""
        known = self._sources.pop(source, None)
        if known is None or now_s - known.last_s > FORGET_S:
            known = _Source(0, now_s)
        known.failures += 1
        known.last_s = now_s
        self._sources[source] = known
        while len(self._sources) > SOURCES_MAX:
            del self._sources[next(iter(self._sources))]

    def forgiven(self, source: str) -> None:
        """Take back the last failure: it was none. What failed before still counts, whoever it was."""
        known = self._sources.get(source)
        if known is not None:
            known.failures -= 1
            if known.failures <= 0:
                del self._sources[source]

    def __len__(self) -> int:
        return len(self._sources)
