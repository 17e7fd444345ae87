"""What an event tells: the classification of a picture, a reading, or the summary of a window."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.messages.clocks import ClockState
from gateway.messages.submissions import Reading


class Kind(StrEnum):
    """What an event tells."""

    CLASSIFICATION = "classification"
    READING = "reading"
    SUMMARY = "summary"  # counts of one device and kind over a window


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One class of the model with its probability as the model gave it (0..1, 8 decimal places)."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which model spoke: the hashes are of the files' bytes, lower-case hex."""

    name: str
    model_sha256: str
    labels_sha256: str
    runtime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What a model says about one picture. Label order is the model's; every class is present."""

    predictions: tuple[Prediction, ...]
    model: ModelIdentity
    image_format: str
    image_width: int
    image_height: int
    decode_ms: float
    preprocess_ms: float
    inference_ms: float

    @property
    def top_label(self) -> str | None:
        """The most probable label, the model's first of equals; None if the model said nothing."""
        if not self.predictions:
            return None
        return max(self.predictions, key=lambda prediction: prediction.probability).label


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryMoment:
    """When the first or last event of a window came in: the best that is known now, as of an event."""

    received_at: datetime
    clock: ClockState
    boot: int | None
    boottime_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came of one device in one window. ``counts_json`` is a JSON object (gateway/summaries.py)."""

    of_kind: Kind
    window_s: float
    first: SummaryMoment
    last: SummaryMoment
    counts_json: str


Result = Classification | Reading | Summary


def kind_of(result: Result) -> Kind:
    """Return what a result is."""
    match result:
        case Classification():
            return Kind.CLASSIFICATION
        case Reading():
            return Kind.READING
        case Summary():
            return Kind.SUMMARY
