"""What the guest tells the host: one JSON object a line, over a serial port of its own."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum


class Kind(StrEnum):
    PROGRESS = "progress"
    PASSED = "passed"
    FAILED = "failed"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """``text`` is a scenario's name, or progress; ``detail`` why it failed."""

    kind: Kind
    text: str = ""
    seconds: float = 0.0
    detail: str = ""

    def encoded(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def parsed(text: str) -> Line | None:
    """Return the line, or None for what is none (firmware and kernel may write to any console)."""
    try:
        found = json.loads(text)
        return Line(**{**found, "kind": Kind(found["kind"])})
    except (ValueError, TypeError, KeyError):
        return None
