"""How many log lines of one kind are written: devices cause lines, and a crowd of them must not fill the card.

Of a kind (logger, event, reason) the first ``BURST_LINES`` in a minute are written, and of the rest their number when
the minute is over; while it goes on like that, one line and one number a minute. Levels make no difference: an error
that a device can cause has a traceback, and is the longest. Pure: the time is given.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

WINDOW_S = 60.0
# A site whose devices all come back after a power cut, or a few pictures that are all refused, is told whole.
BURST_LINES = 30
# Our events and their reasons are some 200. Foreign lines are told apart by their templates; what is beyond counts
# as one kind for each logger.
KINDS_MAX = 512
# Windows that are over are looked for at most this often: it takes a look at each kind.
SWEEP_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class LineKind:
    """What counts together."""

    logger: str
    event: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """``count`` lines of a kind were not written."""

    kind: LineKind
    count: int


@dataclass(slots=True)
class _Window:
    since_s: float
    allowed: int = BURST_LINES
    seen: int = 0

    @property
    def left_out(self) -> int:
        return max(0, self.seen - self.allowed)


class FloodGate:
    """The kinds of the last minute."""

    def __init__(self) -> None:
        self._windows: dict[LineKind, _Window] = {}
        self._swept_s = float("-inf")

    def lets_through(self, record: logging.LogRecord, now_s: float) -> bool:
        """Tell whether a line is written, and count it."""
        kind = kind_of(record)
        if kind not in self._windows and len(self._windows) >= KINDS_MAX:
            kind = LineKind(kind.logger)
        window = self._windows.setdefault(kind, _Window(now_s))
        window.seen += 1
        return window.seen <= window.allowed

    def take_left_out(self, now_s: float, *, at_end: bool = False) -> list[LeftOut]:
        """Return what was left out in minutes that are over since the last call; ``at_end`` in the current ones too."""
        if not at_end and now_s - self._swept_s < SWEEP_EVERY_S:
            return []
        self._swept_s = now_s
        return list(self._close(now_s, at_end=at_end))

    def _close(self, now_s: float, *, at_end: bool) -> Iterator[LeftOut]:
        for kind, window in list(self._windows.items()):
            if not at_end and now_s - window.since_s < WINDOW_S:
                continue
            if window.left_out:
                yield LeftOut(kind, window.left_out)
                self._windows[kind] = _Window(now_s, allowed=1)
            else:
                del self._windows[kind]

    def __len__(self) -> int:
        return len(self._windows)


def kind_of(record: logging.LogRecord) -> LineKind:
    """Return what counts together with ``record``: of structlog's its event and reason, of others their template."""
    if isinstance(record.msg, dict):
        return LineKind(record.name, str(record.msg.get("event", "")), str(record.msg.get("reason", "")))
    return LineKind(record.name, str(record.msg))
