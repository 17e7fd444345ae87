"""Equal to the exported container of Custom Vision, generation 2.2: its tensors and its probabilities."""

import json
from pathlib import Path

import numpy as np
import pytest

from gateway.messages import Classification
from gateway.vision.bundle import load_bundle
from gateway.vision.image import decode, preprocess, read_header
from gateway.vision.picture_classifier import PictureClassifier
from gateway.vision.preprocessing import custom_vision
from gateway.vision.preprocessing_choice import Source
from gateway.vision.runtime import Choice, load_runtime
from tests.unit.vision.models import RUNTIMES, SHARED_MODELS, runtime_or_skip

DATA = Path(__file__).resolve().parents[1] / "data" / "vision"
GOLDEN = np.load(DATA / "golden.npz")

needs_shared_models = pytest.mark.skipif(
    not SHARED_MODELS.exists(), reason="needs ../shared/models beside the checkout"
)


@pytest.mark.parametrize("key", sorted(GOLDEN.files))
def test_preprocessed_tensor_equals_the_containers(key: str) -> None:
    name, side = key.rsplit("@", 1)
    data = (DATA / "pictures" / name).read_bytes()

    tensor = preprocess(decode(read_header(data)), custom_vision(int(side)))

    assert tensor.dtype == np.float32
    assert tensor.shape == (1, int(side), int(side), 3)
    np.testing.assert_array_equal(tensor, GOLDEN[key])


def test_golden_pictures_cover_every_format_and_orientation() -> None:
    names = {key.rsplit("@", 1)[0] for key in GOLDEN.files}
    assert {Path(name).suffix for name in names} == {".png", ".jpg", ".gif", ".bmp", ".webp"}
    assert {f"orientation_{value}.jpg" for value in range(1, 9)} <= names
    upright = {name: GOLDEN[f"{name}@32"].tobytes() for name in names if name.startswith("orientation_")}
    assert len(set(upright.values())) == 8, "pictures that look alike could not tell orientations apart"


def classify(model: Path, image: Path, runtime_name: Choice) -> Classification:
    runtime = runtime_or_skip(runtime_name)
    bundle = load_bundle(model, runtime=runtime)
    return PictureClassifier(bundle=bundle, runtime=runtime, pixels_max=50_000_000).classify_bytes(image.read_bytes())


@needs_shared_models
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("image", ["ms_test_apple.jpg", "ms_test_orange.jpg", "rpi_apple1.jpg"])
def test_probabilities_equal_the_exported_containers(runtime: Choice, image: str) -> None:
    model = SHARED_MODELS / "custom-vision-apple-orange"
    expected = json.loads((model / "expected.json").read_text())["predictions"][image]["predictions"]

    answer = classify(model, model / "images" / image, runtime)

    assert [prediction.label for prediction in answer.predictions] == [entry["tagName"] for entry in expected]
    for prediction, entry in zip(answer.predictions, expected, strict=True):
        assert prediction.probability == pytest.approx(entry["probability"], abs=1e-6)


@needs_shared_models
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_quantised_mobilenet_agrees_on_the_best_label(runtime: Choice) -> None:
    model = SHARED_MODELS / "mobilenet-v1-quantised"
    label, probability = json.loads((model / "expected.json").read_text())["top1"]["burger.jpg"]

    answer = classify(model, model / "images" / "burger.jpg", runtime)

    best = max(answer.predictions, key=lambda prediction: prediction.probability)
    assert best.label == label
    assert best.probability == pytest.approx(probability, abs=0.1)
    assert len(answer.predictions) == 1001


@needs_shared_models
def test_bare_model_file_brings_its_own_labels_and_preprocessing(tmp_path: Path) -> None:
    alone = tmp_path / "mobilenet.tflite"
    alone.write_bytes((SHARED_MODELS / "mobilenet-v1-quantised" / "model.tflite").read_bytes())

    bundle = load_bundle(alone, runtime=load_runtime())

    assert bundle.description.source is Source.METADATA
    assert bundle.labels[0] == "background"
    assert bundle.identity.name == "mobilenet"
