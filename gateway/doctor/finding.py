"""One line of the doctor's report. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """OK; WARN: it runs, and something should be known; FAIL: it won't run, or won't keep its promises."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was looked at, what was found, and how to mend it. ``figures`` are for machines, units last in the names."""

    check: str
    level: Level
    text: str
    cure: str = ""
    figures: tuple[tuple[str, float], ...] = ()


def ok(check: str, text: str, *, figures: tuple[tuple[str, float], ...] = ()) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(check=check, level=Level.OK, text=text, figures=figures)


def warn(check: str, text: str, cure: str, *, figures: tuple[tuple[str, float], ...] = ()) -> Finding:
    """Return a finding that should be known."""
    return Finding(check=check, level=Level.WARN, text=text, cure=cure, figures=figures)


def fail(check: str, text: str, cure: str, *, figures: tuple[tuple[str, float], ...] = ()) -> Finding:
    """Return a finding that must be mended."""
    return Finding(check=check, level=Level.FAIL, text=text, cure=cure, figures=figures)
