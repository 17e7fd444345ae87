"""The devices of a year and what the policies must make of what they send, worked out a second time.

Cameras send pictures that a classifier without a model answers, from the picture's bytes alone; the others send
readings with a ``level`` that stays for some days. What each device sends is a function of its id and number, so that
what is sent again is the same.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.messages import (
    Classification,
    Image,
    ModelIdentity,
    Prediction,
    Reading,
    Readings,
    Submission,
    Transport,
)
from gateway.settings import PolicyRuleSettings
from tests.fakes.classifier import classification

# Some of a device's pictures and readings are like the last one, most are sure.
LEVEL_EVERY = 3
LABELS = ("ripe", "unripe")
PROBABILITIES = (0.55, 0.97)


@dataclass(slots=True)
class Device:
    """Keeps what was not acknowledged, in order."""

    name: str
    is_camera: bool
    text_bytes: int
    made: int = 0
    unsent: list[int] = field(default_factory=list)

    def measure(self) -> None:
        self.made += 1
        self.unsent.append(self.made)

    def submission(self, number: int) -> Submission:
        """Return what it sends as its ``number``-th."""
        payload = Image(data=self.picture(number)) if self.is_camera else self._readings(number)
        return Submission(
            device_id=self.name, transport=Transport.HTTP, payload=payload, submission_id=f"{self.name}-{number}"
        )

    def picture(self, number: int) -> bytes:
        return f"{self.name} {number}".encode()

    def level(self, number: int) -> int:
        return number // LEVEL_EVERY

    def _readings(self, number: int) -> Readings:
        values = {"t": "x" * self.text_bytes, "n": number, "level": self.level(number)}
        text = json.dumps(values, separators=(",", ":"))
        return Readings(data=text.encode(), items=(Reading(values_json=text),), is_array=False)


class PictureReader:
    """Implements ports.Classifier: what a picture shows is drawn from its bytes."""

    def __init__(self) -> None:
        self._plain = classification()

    @property
    def model(self) -> ModelIdentity:
        return self._plain.model

    async def classify(self, image: Image) -> Classification:
        label, probability = shown(image.data)
        return replace(self._plain, predictions=(Prediction(label=label, probability=probability),))


def shown(picture: bytes) -> tuple[str, float]:
    """Return the label and its probability."""
    rng = random.Random(hashlib.sha256(picture).digest())
    return rng.choice(LABELS), rng.choice(PROBABILITIES)


# --- what must become of it ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An accepted submission: the ``number``-th of its device."""

    device: Device
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the policies must have done: sequences by what becomes of them, and what summaries count by device."""

    pending: set[int]
    filtered: set[int]
    summarised: set[int]
    counted: Mapping[str, int]


def expected(accepted: Mapping[int, Sent], rule_of: Mapping[str, PolicyRuleSettings]) -> Expected:
    """Apply the rules, one for each device that has any, to what was accepted, in the order of sequences.

    Written from docs/OPERATIONS.md, not from gateway/policies.py. Assumes on_change_max_s of 0.
    """
    pending, filtered, summarised = set[int](), set[int](), set[int]()
    counted: dict[str, int] = {}
    last: dict[str, object] = {}
    for sequence in sorted(accepted):
        sent = accepted[sequence]
        name = sent.device.name
        rule = rule_of.get(name, PolicyRuleSettings(priority=5))
        if rule.summary != "off":
            counted[name] = counted.get(name, 0) + 1
        label, probability = shown(sent.device.picture(sent.number))
        essence = label if sent.device.is_camera else sent.device.level(sent.number)
        if sent.device.is_camera and probability < rule.min_probability:
            filtered.add(sequence)
        elif rule.on_change and last.get(name) != essence:
            last[name] = essence
            pending.add(sequence)
        elif rule.summary == "instead":
            summarised.add(sequence)
        elif rule.on_change:
            filtered.add(sequence)
        else:
            pending.add(sequence)
    return Expected(pending=pending, filtered=filtered, summarised=summarised, counted=counted)


def counted_in(summaries: Iterable[Mapping[str, Any]]) -> Mapping[str, int]:
    """Return how many events summaries, as the cloud has them, count of each device."""
    found: dict[str, int] = {}
    for item in summaries:
        found[item["device_id"]] = found.get(item["device_id"], 0) + item["summary"]["count"]
    return found
