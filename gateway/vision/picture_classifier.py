"""One picture through one engine, synchronously: the work of a worker thread, and ``gateway classify`` without any."""

import math
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.messages import Classification, Prediction
from gateway.settings import ModelSettings
from gateway.vision.bundle import Bundle, load_model
from gateway.vision.image import Tensor, check_pixels, decode, preprocess, read_header, weighed_pixels
from gateway.vision.image_header import ImageHeader
from gateway.vision.pixel_budget import PixelBudget
from gateway.vision.runtime import Engine, Runtime, TensorSpec

# What the exported container rounds to.
PROBABILITY_DECIMALS = 8


def load_picture_classifier(settings: ModelSettings, *, pixels_max: int) -> "PictureClassifier":
    """Return a classifier for one thread, without an event loop. Raises BundleInvalid."""
    bundle, runtime = load_model(settings)
    return PictureClassifier(bundle=bundle, runtime=runtime, pixels_max=pixels_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A classification and how long it waited for its share of the pixel budget."""

    classification: Classification
    budget_wait_ms: float


class PictureClassifier:
    """Owns one engine: to be used by one thread at a time. ``budget`` is shared by all classifiers of a process."""

    def __init__(self, *, bundle: Bundle, runtime: Runtime, pixels_max: int, budget: PixelBudget | None = None) -> None:
        self._bundle = bundle
        self._engine: Engine = bundle.engine(runtime)
        self._pixels_max = pixels_max
        self._budget = budget or PixelBudget(pixels_max=pixels_max)

    def classify_bytes(self, data: bytes) -> Classification:
        """Return what the model says of an encoded picture. Raises Rejected."""
        return self.classify_timed(data).classification

    def classify_timed(self, data: bytes) -> Timed:
        """Return the same with the time waited. Raises Rejected; anything else is a fault of ours or of the model."""
        began = perf_counter()
        header = read_header(data)
        check_pixels(header, pixels_max=self._pixels_max)
        asked = perf_counter()
        with self._budget.hold(weighed_pixels(header)):
            granted = perf_counter()
            tensor, decoded = self._to_tensor(header)
        prepared = perf_counter()
        output = self._engine.run(tensor)
        predictions = self._read(output)
        done = perf_counter()
        return Timed(
            classification=Classification(
                predictions=predictions,
                model=self._bundle.identity,
                image_format=header.format,
                image_width=header.width,
                image_height=header.height,
                decode_ms=_milliseconds(decoded - granted + asked - began),
                preprocess_ms=_milliseconds(prepared - decoded),
                inference_ms=_milliseconds(done - prepared),
            ),
            budget_wait_ms=_milliseconds(granted - asked),
        )

    def _to_tensor(self, header: ImageHeader) -> tuple[Tensor, float]:
        # In a function of its own, so that the decoded picture is gone before its pixels are given back.
        image = decode(header)
        decoded = perf_counter()
        return preprocess(image, self._bundle.preprocessing), decoded

    def _read(self, output: npt.NDArray[Any]) -> tuple[Prediction, ...]:
        values = probabilities(output, self._engine.outputs[0], softmax=self._bundle.softmax)
        return tuple(
            Prediction(label=label, probability=value) for label, value in zip(self._bundle.labels, values, strict=True)
        )


def probabilities(output: npt.NDArray[Any], spec: TensorSpec, *, softmax: bool) -> list[float]:
    """Return the model's output as numbers with 8 decimal places: de-quantised, softmaxed if asked, never renormalised.

    Some exports end in a sigmoid, so that a sum other than 1 is no mistake. Raises ValueError for NaN or infinity.
    """
    values = output.reshape(-1)
    if spec.dtype != "float32":
        values = (values.astype(np.float64) - spec.quantisation.zero_point) * spec.quantisation.scale
    if softmax:
        powers = np.exp(values.astype(np.float64) - values.max())
        values = powers / powers.sum()
    numbers = [round(value, PROBABILITY_DECIMALS) for value in values.tolist()]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("the model answered with NaN or infinity")
    return numbers


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)
