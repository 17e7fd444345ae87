"""A classifier without a model, for the tests of everything around it."""

import asyncio
from dataclasses import dataclass, field

from gateway.errors import NotAnImage
from gateway.messages import Classification, Image, ModelIdentity, Prediction

FAKE_MODEL = ModelIdentity(name="fake", model_sha256="a" * 64, labels_sha256="b" * 64, runtime="fake")


def classification(*, label: str = "ripe", probability: float = 0.99956155) -> Classification:
    """Return a plausible answer of a two-class model."""
    other = Prediction(label="unripe" if label == "ripe" else "ripe", probability=round(1 - probability, 8))
    return Classification(
        predictions=(Prediction(label=label, probability=probability), other),
        model=FAKE_MODEL,
        image_format="jpeg",
        image_width=640,
        image_height=480,
        decode_ms=2.5,
        preprocess_ms=0.5,
        inference_ms=7.25,
    )


@dataclass
class FakeClassifier:
    """Implements ports.Classifier.

    Every picture gets ``answer``, unless its bytes are a key of ``answers``: a Classification is returned, an
    error is raised. Bytes that begin with ``not an image`` are refused as such. ``hold`` makes every call wait
    until ``let_go`` is set; ``seen`` records the bytes in order of arrival.
    """

    answer: Classification = field(default_factory=classification)
    answers: dict[bytes, Classification | Exception] = field(default_factory=dict)
    seen: list[bytes] = field(default_factory=list)
    hold: bool = False
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    started: bool = False
    closed: bool = False

    @property
    def model(self) -> ModelIdentity:
        return self.answer.model

    def start(self) -> None:
        self.started = True

    def close(self, deadline_s: float = 5.0) -> None:
        self.closed = True

    async def classify(self, image: Image) -> Classification:
        self.seen.append(image.data)
        if self.hold:
            await self.let_go.wait()
        if image.data.startswith(b"not an image"):
            raise NotAnImage("these bytes are no picture")
        answer = self.answers.get(image.data, self.answer)
        if isinstance(answer, Exception):
            raise answer
        return answer
