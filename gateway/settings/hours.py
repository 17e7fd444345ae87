"""Hours of the day in which the uplink rests, e.g. because the link is dear or another's then. Pure.

A span is ``22:00-06:00`` in local time, its end not included; it may cross midnight. Days on which clocks are set
forward or back are as long as they are: what counts is what a wall clock at the site shows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)")
_DAY = timedelta(days=1)
# How far ahead an end is looked for: spans that touch each other may cover a day and a night.
_LOOK_AHEAD_DAYS = 2


class SpanInvalid(ValueError):
    """What is written is no span of hours."""


@dataclass(frozen=True, slots=True)
class Span:
    """From ``start`` until before ``end``; an ``end`` at or before ``start`` is on the next day."""

    start: time
    end: time

    def holds(self, moment: time) -> bool:
        """Return whether ``moment`` lies in the span."""
        if self.start < self.end:
            return self.start <= moment < self.end
        return moment >= self.start or moment < self.end


def parse_span(text: str) -> Span:
    """Return the span that ``text`` writes. Raises SpanInvalid."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise SpanInvalid(f"{text!a} is not written as 22:00-06:00")
    hour, minute, end_hour, end_minute = map(int, found.groups())
    if (end_hour, end_minute) > (24, 0):
        raise SpanInvalid(f"{text!a} ends after 24:00")
    start, end = time(hour, minute), time(end_hour % 24, end_minute)
    if start == end:
        raise SpanInvalid(f"{text!a} leaves nothing of the day")
    return Span(start, end)


def quiet_for(spans: Sequence[Span], local_now: datetime) -> timedelta:
    """Return how long it stays quiet from ``local_now``, a local time without a zone; zero if it is not quiet."""
    end = local_now
    while end - local_now < _LOOK_AHEAD_DAYS * _DAY:
        span = next((span for span in spans if span.holds(end.time())), None)
        if span is None:
            break
        end = _end_of(span, end)
    return end - local_now


def _end_of(span: Span, moment: datetime) -> datetime:
    end = datetime.combine(moment.date(), span.end)
    return end if end > moment else end + _DAY
