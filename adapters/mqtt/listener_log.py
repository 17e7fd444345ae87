"""Warnings about devices, a few of each kind a minute: a scanner must not fill a card with log lines."""

import structlog

from gateway.ports import Clock

log = structlog.get_logger(__name__)

WINDOW_S = 60.0
EACH_MAX = 10


class ThrottledWarnings:
    """Logs the first ``EACH_MAX`` of a reason in a minute, and how many were left out with the next."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}

    def warn(self, event: str, *, reason: str, **fields: object) -> None:
        """Log, or count what is left out. ``reason`` is one of few slugs."""
        now = self._clock.monotonic()
        since, count = self._seen.get(reason, (now, 0))
        left_out = 0
        if now - since >= WINDOW_S:
            left_out = max(0, count - EACH_MAX)
            since, count = now, 0
        self._seen[reason] = (since, count + 1)
        if count < EACH_MAX:
            log.warning(event, reason=reason, **({"left_out": left_out} if left_out else {}), **fields)
