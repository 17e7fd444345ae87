"""What a summary counts: results of one device over a window, as few numbers whatever their number. Pure.

Of pictures: how often each label was the most probable one, and its
probability's least, mean and greatest; of readings the same of each number,
nested ones by dotted names. Limits: LABELS_MAX labels and VALUES_MAX numbers
are told apart, so that a summary fits into a message whatever devices send.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from gateway.messages import Classification, Reading, Result, Summary

LABELS_MAX = 256
VALUES_MAX = 64
OTHERS = "*"  # labels beyond LABELS_MAX, and what the model had no label for
# Sums of a window stay far from what a float can hold.
NUMBER_MAX = 1e200
_DIGITS = 9


@dataclass(slots=True)
class _Range:
    """Numbers that came, as count, least, greatest and sum."""

    count: int = 0
    least: float = 0.0
    greatest: float = 0.0
    total: float = 0.0

    def add(self, number: float) -> None:
        self.least = number if not self.count else min(self.least, number)
        self.greatest = number if not self.count else max(self.greatest, number)
        self.total += number
        self.count += 1

    def told(self) -> Mapping[str, float]:
        return {"min": self.least, "mean": float(f"{self.total / self.count:.{_DIGITS}g}"), "max": self.greatest}


@dataclass(slots=True)
class Tally:
    """The counts of one open window. ``to_json`` and ``from_json`` keep it between two events."""

    count: int = 0
    unsure: int = 0
    left_out: int = 0
    labels: dict[str, _Range] = field(default_factory=dict)
    values: dict[str, _Range] = field(default_factory=dict)

    def add(self, result: Result, *, is_unsure: bool) -> None:
        """Count one event. ``is_unsure``: held back by min_probability, so that its label counts for nothing."""
        self.count += 1
        if is_unsure:
            self.unsure += 1
        elif isinstance(result, Classification):
            self._add_label(result)
        elif isinstance(result, Reading):
            self._add_values(json.loads(result.values_json))

    def counts(self) -> Mapping[str, Any]:
        """Return what is told of it upstream."""
        told: dict[str, Any] = {"count": self.count}
        if self.unsure:
            told["below_min_probability"] = self.unsure
        if self.labels:
            told["labels"] = {
                label: {"count": found.count, "probability": found.told()} for label, found in self.labels.items()
            }
        if self.values:
            told["values"] = {name: {"count": found.count, **found.told()} for name, found in self.values.items()}
        if self.left_out:
            told["numbers_left_out"] = self.left_out
        return told

    def to_json(self) -> str:
        """Return it as text, to be gone on with."""
        groups = {
            name: {key: [r.count, r.least, r.greatest, r.total] for key, r in group.items()}
            for name, group in (("labels", self.labels), ("values", self.values))
        }
        fixed = {"count": self.count, "unsure": self.unsure, "left_out": self.left_out}
        return json.dumps(fixed | groups, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> "Tally":
        """Return what :meth:`to_json` told."""
        kept = json.loads(text)
        return Tally(
            count=kept["count"],
            unsure=kept["unsure"],
            left_out=kept["left_out"],
            labels={label: _Range(*numbers) for label, numbers in kept["labels"].items()},
            values={name: _Range(*numbers) for name, numbers in kept["values"].items()},
        )

    def _add_label(self, result: Classification) -> None:
        label = result.top_label
        if label is None or (label not in self.labels and len(self.labels) >= LABELS_MAX):
            label = OTHERS
        probability = max((prediction.probability for prediction in result.predictions), default=0.0)
        self.labels.setdefault(label, _Range()).add(probability)

    def _add_values(self, values: Mapping[str, Any]) -> None:
        for name, number in _numbers(values, ""):
            if abs(number) > NUMBER_MAX or (name not in self.values and len(self.values) >= VALUES_MAX):
                self.left_out += 1
            else:
                self.values.setdefault(name, _Range()).add(float(number))


def _numbers(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", value


def summary_document(summary: Summary) -> dict[str, Any]:
    """Return what is told of a summary, as a JSON object; times in RFC 3339 with milliseconds."""
    return {
        "of": summary.of_kind.value,
        "window_s": summary.window_s,
        "from": _told(summary.first.received_at),
        "from_clock": summary.first.clock.value,
        "to": _told(summary.last.received_at),
        "to_clock": summary.last.clock.value,
        **json.loads(summary.counts_json),
    }


def _told(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
