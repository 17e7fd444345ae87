"""The committed demo model, its card, the examples and the unseen pictures: what the README promises of them."""

import hashlib
import platform
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from gateway.errors import BundleInvalid
from gateway.vision.bundle import Bundle, load_bundle
from gateway.vision.picture_classifier import PictureClassifier
from gateway.vision.preprocessing_choice import Source
from gateway.vision.runtime import Choice, Runtime, load_runtime

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "config" / "models" / "fruit"
UNSEEN = sorted((ROOT / "tests" / "data" / "unseen-fruit").iterdir())
EXAMPLES = sorted((ROOT / "examples").iterdir())
ACCURACY_FLOOR = 0.95

RUNTIMES: tuple[Choice, ...] = ("litert", "tflite-runtime")


def runtime_or_skip(choice: Choice) -> Runtime:
    try:
        return load_runtime(choice)
    except BundleInvalid as error:
        if sys.version_info < (3, 12) and sys.platform == "linux" and platform.machine() == "x86_64":
            raise  # both runtimes have wheels there: a missing one is a broken installation
        pytest.skip(f"{choice} has no wheel here: {error}")


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return runtime_or_skip(request.param)


@pytest.fixture
def bundle(runtime: Runtime) -> Bundle:
    return load_bundle(FOLDER, runtime=runtime)


@pytest.fixture
def classifier(runtime: Runtime, bundle: Bundle) -> PictureClassifier:
    return PictureClassifier(bundle=bundle, runtime=runtime, pixels_max=2_000_000)


def truth(path: Path) -> str:
    return path.stem.rsplit("-", 1)[1]


def answers(classifier: PictureClassifier, paths: list[Path]) -> list[tuple[str, float]]:
    """Return the likeliest label of each picture and its probability."""
    found = []
    for path in paths:
        predictions = classifier.classify_bytes(path.read_bytes()).predictions
        best = max(predictions, key=lambda prediction: prediction.probability)
        found.append((best.label, best.probability))
    return found


@cache
def card() -> str:
    return (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_model_is_right_on_unseen_pictures(classifier: PictureClassifier) -> None:
    found = answers(classifier, UNSEEN)
    right = sum(label == truth(path) for path, (label, _) in zip(UNSEEN, found, strict=True))
    assert right / len(UNSEEN) >= ACCURACY_FLOOR


def test_card_states_the_accuracy_that_the_model_has(classifier: PictureClassifier) -> None:
    stated = re.search(r"unseen pictures \| \*\*([0-9.]+)\*\*", card())
    assert stated is not None
    found = answers(classifier, UNSEEN)
    right = sum(label == truth(path) for path, (label, _) in zip(UNSEEN, found, strict=True))
    # One picture's worth of room, for another machine's rounding.
    assert right / len(UNSEEN) == pytest.approx(float(stated[1]), abs=1.01 / len(UNSEEN))


def test_examples_are_told_clearly(classifier: PictureClassifier) -> None:
    found = dict(zip(EXAMPLES, answers(classifier, EXAMPLES), strict=True))
    unclear = {path.name: answer for path, answer in found.items() if answer[0] != truth(path) or answer[1] < 0.9}
    assert unclear == {}


def test_probabilities_add_up_to_one(classifier: PictureClassifier) -> None:
    predictions = classifier.classify_bytes(EXAMPLES[0].read_bytes()).predictions
    assert sum(prediction.probability for prediction in predictions) == pytest.approx(1.0, abs=1e-6)


def test_runtimes_agree_on_the_demo_model() -> None:
    runtimes = [runtime_or_skip(choice) for choice in RUNTIMES]
    first, second = (
        PictureClassifier(bundle=load_bundle(FOLDER, runtime=runtime), runtime=runtime, pixels_max=2_000_000)
        for runtime in runtimes
    )
    for path in UNSEEN[:20]:
        data = path.read_bytes()
        mine = [prediction.probability for prediction in first.classify_bytes(data).predictions]
        theirs = [prediction.probability for prediction in second.classify_bytes(data).predictions]
        assert mine == pytest.approx(theirs, abs=1e-5)


def test_labels_are_ripe_and_unripe_in_the_outputs_order(bundle: Bundle) -> None:
    assert bundle.labels == ("ripe", "unripe")


def test_bundle_says_its_name_and_preprocessing_itself(bundle: Bundle) -> None:
    assert bundle.identity.name == "fruit-demo"
    assert bundle.description.source is Source.BUNDLE_TOML


def test_model_is_below_a_megabyte() -> None:
    assert (FOLDER / "model.tflite").stat().st_size < 1_000_000


def test_card_names_the_models_sha256() -> None:
    digest = hashlib.sha256((FOLDER / "model.tflite").read_bytes()).hexdigest()
    assert f"`{digest}`" in card()


def test_card_says_that_the_model_never_saw_a_photograph() -> None:
    assert "never seen a photograph" in card()


def test_unseen_pictures_are_many_small_and_balanced() -> None:
    truths = [truth(path) for path in UNSEEN]
    assert len(UNSEEN) >= 60
    assert truths.count("ripe") == truths.count("unripe")
    assert max(path.stat().st_size for path in UNSEEN) <= 12_000


def test_examples_are_small_enough_to_post_from_anywhere() -> None:
    assert max(path.stat().st_size for path in EXAMPLES) <= 120_000
