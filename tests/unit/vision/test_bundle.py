"""Bundles: where they are found, which pre-processing they get, what is refused and with which cure."""

import hashlib
import json
import stat
import zipfile
from pathlib import Path

import pytest

from gateway.errors import BundleInvalid
from gateway.settings import ModelSettings
from gateway.vision.bundle import Bundle, inspect_bundle, load_bundle
from gateway.vision.picture_classifier import PictureClassifier, load_picture_classifier
from gateway.vision.preprocessing import custom_vision
from gateway.vision.preprocessing_choice import Override, Source
from gateway.vision.runtime import Choice, load_runtime
from tests.unit.vision.models import (
    BGR_LABELS,
    MODELS,
    RGB_LABELS,
    RUNTIMES,
    picture,
    runtime_or_skip,
    write_bundle,
)

MANIFEST = json.dumps({"DomainType": "Classification", "Platform": "DockerFile", "ExporterVersion": "2.2"})


def load(path: Path, *, name: str = "", preprocessing: Override = "auto") -> Bundle:
    return load_bundle(path, runtime=load_runtime(), name=name, preprocessing=preprocessing)


def refusal(path: Path, *, preprocessing: Override = "auto") -> str:
    with pytest.raises(BundleInvalid) as refused:
        load(path, preprocessing=preprocessing)
    return str(refused.value)


def best(bundle: Bundle, colour: str, *, runtime: Choice = "auto") -> str:
    classifier = PictureClassifier(bundle=bundle, runtime=load_runtime(runtime), pixels_max=10**6)
    answer = classifier.classify_bytes(picture(colour))
    return max(answer.predictions, key=lambda prediction: prediction.probability).label


# --- where it is found --------------------------------------------------------------------------------


def zipped(folder: Path, target: Path, *, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, prefix + path.name)
    return target


def test_folder_with_model_and_labels(tmp_path: Path) -> None:
    bundle = load(write_bundle(tmp_path / "fruit", "float32", labels=BGR_LABELS))
    assert bundle.identity.name == "fruit"
    assert bundle.labels == ("blue", "green", "red")
    assert bundle.identity.model_sha256 == hashlib.sha256((MODELS / "float32.tflite").read_bytes()).hexdigest()
    assert bundle.identity.labels_sha256 == hashlib.sha256(BGR_LABELS.encode()).hexdigest()


def test_app_layout_is_named_after_the_folder_that_holds_app(tmp_path: Path) -> None:
    write_bundle(tmp_path / "export" / "app", "float32", labels=BGR_LABELS)
    assert load(tmp_path / "export").identity.name == "export"
    assert load(tmp_path / "export" / "app").identity.name == "export"


@pytest.mark.parametrize("prefix", ["", "app/", "export/app/"])
def test_zip_gives_the_same_as_its_folder(prefix: str, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "folder", "float32", labels=BGR_LABELS, manifest=MANIFEST)
    from_zip = load(zipped(folder, tmp_path / "my-export.zip", prefix=prefix))
    from_folder = load(folder)
    assert from_zip.identity.name == "my-export"
    assert from_zip.identity.model_sha256 == from_folder.identity.model_sha256
    assert from_zip.preprocessing == from_folder.preprocessing
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "my-export.zip"], "nothing is extracted"


def test_bare_file_takes_labels_from_its_metadata(tmp_path: Path) -> None:
    alone = tmp_path / "colours.tflite"
    alone.write_bytes((MODELS / "metadata.tflite").read_bytes())
    bundle = load(alone)
    assert bundle.labels == ("red", "green", "blue")
    assert bundle.identity.name == "colours"
    assert bundle.description.source is Source.METADATA


def test_name_comes_from_the_setting_then_bundle_toml_then_the_folder(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "folder", "float32", toml='name = "said"')
    assert load(folder).identity.name == "said"
    assert load(folder, name="set").identity.name == "set"


def test_nothing_there(tmp_path: Path) -> None:
    assert "there is no model at" in refusal(tmp_path / "absent")
    assert "holds no model.tflite" in refusal(tmp_path)


def test_two_models_without_a_choice_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.tflite").write_bytes((MODELS / "float32.tflite").read_bytes())
    assert "holds 2 models" in refusal(tmp_path)


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("model.pb", "TensorFlow graph"),
        ("saved_model.pb", "SavedModel"),
        ("model.onnx", "ONNX"),
        ("model.mlmodel", "Core ML"),
        ("model.json", "TensorFlow.js"),
        ("net.keras", "Keras"),
    ],
)
def test_other_kinds_of_model_are_named_with_the_cure(file: str, named: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"\x08\x01\x12\x00 whatever it is")
    for path in (tmp_path, tmp_path / file):
        text = refusal(path)
        assert named in text
        assert "TensorFlow Lite" in text or "TFLiteConverter" in text


@pytest.mark.parametrize(("version", "years"), [("2.0", "2019"), ("2.1", "2020-22")])
def test_old_export_generations_are_named(version: str, years: str, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "model.pb").write_bytes(b"graph")
    said = {"DomainType": "Classification", "Platform": "DockerFile", "ExporterVersion": version}
    (folder / "cvexport.manifest").write_text(json.dumps(said))
    text = refusal(tmp_path)
    assert f"generation {version} ({years})" in text
    assert "Export" in text


@pytest.mark.parametrize("model", ["detector_grid", "detector_ssd", "detector_s1"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_detection_models_are_named_by_their_outputs(model: str, runtime: Choice, tmp_path: Path) -> None:
    loaded = runtime_or_skip(runtime)
    with pytest.raises(BundleInvalid, match=r"object detection.*Classification"):
        load_bundle(write_bundle(tmp_path, model), runtime=loaded)


def test_detection_export_is_named_by_its_manifest(tmp_path: Path) -> None:
    manifest = json.dumps({"DomainType": "ObjectDetection", "ExporterVersion": "2.2"})
    assert "object detection project" in refusal(write_bundle(tmp_path, "float32", manifest=manifest))


def test_channels_first_is_named(tmp_path: Path) -> None:
    assert "channels first" in refusal(write_bundle(tmp_path, "channels_first"))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_unknown_operator_is_named(runtime: Choice, tmp_path: Path) -> None:
    loaded = runtime_or_skip(runtime)
    with pytest.raises(BundleInvalid, match="MatrixDeterminant"):
        load_bundle(write_bundle(tmp_path, "unknown_operator"), runtime=loaded)


@pytest.mark.parametrize("content", [b"", b"short", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(1000)])
def test_what_is_no_tflite_file_is_refused(content: bytes, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "folder", "float32")
    (folder / "model.tflite").write_bytes(content)
    assert "not a TFLite file" in refusal(folder)


@pytest.mark.parametrize("labels", ["red\ngreen\n", "a\nb\nc\nd\n", "\n"])
def test_labels_must_match_the_output(labels: str, tmp_path: Path) -> None:
    text = refusal(write_bundle(tmp_path, "float32", labels=labels))
    assert "3 classes" in text
    assert "labels.txt" in text


def test_missing_labels_are_asked_for(tmp_path: Path) -> None:
    assert "put a labels.txt beside it" in refusal(write_bundle(tmp_path, "uint8", labels=None))


def test_empty_line_among_the_labels_is_refused(tmp_path: Path) -> None:
    assert "line 2 is empty" in refusal(write_bundle(tmp_path, "float32", labels="red\n\nblue\n"))


def test_labels_in_another_encoding_are_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, "float32")
    (folder / "labels.txt").write_bytes("grün\nrot\nblau".encode("latin-1"))
    assert "UTF-8" in refusal(folder)


def test_labels_from_windows_are_read(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, "float32")
    (folder / "labels.txt").write_bytes("blau\r\ngrün\r\nrot\r\n\r\n".encode("utf-8-sig"))
    assert load(folder).labels == ("blau", "grün", "rot")


def test_background_class_without_a_label(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, "float32", labels="green\nred\n")
    assert "background_class = true" in refusal(folder)
    (folder / "bundle.toml").write_text("background_class = true")
    assert load(folder).labels == ("background", "green", "red")


# --- zips of strangers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../model.tflite", "/etc/model.tflite", "a/../../labels.txt", "app\\..\\model.tflite"]
)
def test_zip_entries_that_point_outside_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = name
        archive.writestr(entry, b"x")
        archive.writestr("model.tflite", (MODELS / "float32.tflite").read_bytes())
    assert "points outside" in refusal(path)


def test_a_link_in_a_zip_is_never_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("green\nred\nof-the-site\n")
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("labels.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(secret))
        archive.writestr("model.tflite", (MODELS / "float32.tflite").read_bytes())
    assert "of-the-site" not in refusal(path)  # one label: the path


@pytest.mark.parametrize("name", ["labels.txt", "bundle.toml", "cvexport.manifest"])
def test_a_link_out_of_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle", "float32")
    (tmp_path / "outside").write_text("of-the-site\n")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "outside")
    assert "leads out of the bundle" in refusal(folder)


def test_links_within_a_bundle_and_to_it_are_fine(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "versions", "float32")
    (folder / "labels.txt").rename(folder / "labels-3.txt")
    (folder / "labels.txt").symlink_to("labels-3.txt")
    (tmp_path / "current").symlink_to(folder)
    assert load(tmp_path / "current").labels == load(folder).labels


def test_zip_bombs_are_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.vision.model_files._MODEL_BYTES_MAX", 1024 * 1024)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.tflite", bytes(2 * 1024 * 1024))
    assert "more than 1 MiB" in refusal(path)


def test_damaged_zip_is_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "folder", "float32")
    path = zipped(folder, tmp_path / "export.zip")
    path.write_bytes(path.read_bytes()[:-60])
    assert "damaged zip" in refusal(path)


# --- which pre-processing -----------------------------------------------------------------------------


def test_float_model_with_labels_alone_is_taken_for_an_export(tmp_path: Path) -> None:
    bundle = load(write_bundle(tmp_path, "float32", labels=BGR_LABELS))
    assert bundle.preprocessing == custom_vision(16)
    assert bundle.description.source is Source.CUSTOM_VISION
    assert "bundle.toml can say otherwise" in bundle.description.reason


def test_manifest_makes_it_an_export_and_names_the_generation(tmp_path: Path) -> None:
    bundle = load(write_bundle(tmp_path, "float32", manifest=MANIFEST))
    assert bundle.preprocessing == custom_vision(16)
    assert "generation 2.2" in bundle.description.reason


def test_metadata_wins_over_the_guess(tmp_path: Path) -> None:
    bundle = load(write_bundle(tmp_path, "metadata"))
    assert bundle.description.source is Source.METADATA
    assert bundle.preprocessing.mean == (127.5,) * 3


def test_bundle_toml_wins_over_metadata(tmp_path: Path) -> None:
    bundle = load(write_bundle(tmp_path, "metadata", toml="mean = 100\nstd = [1, 2, 4]\nresize = 'letterbox'"))
    assert bundle.description.source is Source.BUNDLE_TOML
    assert bundle.preprocessing.mean == (100.0,) * 3
    assert bundle.preprocessing.std == (1.0, 2.0, 4.0)


def test_bundle_toml_that_only_names_leaves_detection_on(tmp_path: Path) -> None:
    bundle = load(write_bundle(tmp_path, "metadata", toml="name = 'x'"))
    assert bundle.description.source is Source.METADATA


def test_the_setting_wins_over_everything(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, "metadata", toml="mean = 100")
    assert load(folder, preprocessing="custom-vision").preprocessing == custom_vision(16)
    assert load(folder, preprocessing="metadata").preprocessing.mean == (127.5,) * 3
    assert load(folder, preprocessing="bundle").preprocessing.mean == (100.0,) * 3


def test_the_setting_asks_for_what_is_not_there(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path, "uint8")
    assert "no TFLite metadata" in refusal(folder, preprocessing="metadata")
    assert "no bundle.toml" in refusal(folder, preprocessing="bundle")
    assert "float32" in refusal(folder, preprocessing="custom-vision")


def test_open_input_size_is_said_by_the_bundle(tmp_path: Path) -> None:
    assert "size = 224" in refusal(write_bundle(tmp_path / "a", "open_size"))
    folder = write_bundle(tmp_path / "b", "open_size", labels=BGR_LABELS, toml="size = 24\npreset = 'custom-vision'")
    bundle = load(folder)
    assert bundle.preprocessing == custom_vision(24)
    assert best(bundle, "red") == "red"


def test_size_that_contradicts_the_model_is_refused(tmp_path: Path) -> None:
    assert "size is 224x224" in refusal(write_bundle(tmp_path, "float32", toml="size = 224"))


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("colour = 'rgb'\nsize = 'big'", "colour"),
        ("colour_order = 'rbg'", "colour_order"),
        ("preset = 'custom-vision'\nmean = 1", "remove mean"),
        ("std = 0", "std must be above 0"),
        ("mean = [1, 2]", "2 values"),
        ("colour_order = 'grey'", "3 channels"),
        ("size = = 1", "not valid TOML"),
    ],
)
def test_mistakes_in_bundle_toml_are_named(toml: str, named: str, tmp_path: Path) -> None:
    text = refusal(write_bundle(tmp_path, "float32", toml=toml))
    assert "bundle.toml" in text
    assert named in text


# --- what it answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("model", "labels"),
    [
        ("float32", BGR_LABELS),
        ("float16", BGR_LABELS),
        ("uint8", RGB_LABELS),
        ("int8", RGB_LABELS),
        ("metadata", RGB_LABELS),
    ],
)
def test_every_kind_of_model_answers_with_the_right_colour(
    model: str, labels: str, runtime: Choice, tmp_path: Path
) -> None:
    runtime_or_skip(runtime)
    bundle = load(write_bundle(tmp_path, model, labels=labels))
    for colour in ("red", "lime", "blue"):
        assert best(bundle, colour, runtime=runtime) == {"lime": "green"}.get(colour, colour)


@pytest.mark.parametrize("model", ["uint8", "int8"])
def test_quantised_outputs_are_dequantised(model: str, tmp_path: Path) -> None:
    bundle = load(write_bundle(tmp_path, model))
    classifier = PictureClassifier(bundle=bundle, runtime=load_runtime(), pixels_max=10**6)
    values = [prediction.probability for prediction in classifier.classify_bytes(picture("red")).predictions]
    assert sum(values) == pytest.approx(1, abs=0.02)
    assert all(0 <= value <= 1 for value in values)
    assert all(value * 256 == round(value * 256) for value in values)


def test_int8_with_mean_and_std_agrees_with_the_full_range(tmp_path: Path) -> None:
    plain = load(write_bundle(tmp_path / "a", "int8"))
    said = load(write_bundle(tmp_path / "b", "int8", toml="mean = 127.5\nstd = 127.5"))
    assert plain.preprocessing.full_range
    assert not said.preprocessing.full_range
    assert abs(plain.preprocessing.value_table().astype(int) - said.preprocessing.value_table()).max() <= 1


def test_softmax_only_if_the_bundle_says_so(tmp_path: Path) -> None:
    toml = "preset = 'custom-vision'\nsoftmax = {}"
    logits = load_picture_classifier(
        ModelSettings(path=write_bundle(tmp_path / "a", "logits", toml=toml.format("false"))), pixels_max=10**6
    ).classify_bytes(picture("red"))
    softmaxed = load_picture_classifier(
        ModelSettings(path=write_bundle(tmp_path / "b", "logits", toml=toml.format("true"))), pixels_max=10**6
    ).classify_bytes(picture("red"))
    proper = load_picture_classifier(
        ModelSettings(path=write_bundle(tmp_path / "c", "float32")), pixels_max=10**6
    ).classify_bytes(picture("red"))
    assert max(prediction.probability for prediction in logits.predictions) == pytest.approx(5.1, abs=1e-4)
    for ours, models in zip(softmaxed.predictions, proper.predictions, strict=True):
        assert ours.probability == pytest.approx(models.probability, abs=1e-6)


def test_probabilities_have_eight_decimal_places(tmp_path: Path) -> None:
    bundle = load(write_bundle(tmp_path, "float32"))
    classifier = PictureClassifier(bundle=bundle, runtime=load_runtime(), pixels_max=10**6)
    for prediction in classifier.classify_bytes(picture((200, 100, 7))).predictions:
        assert prediction.probability == round(prediction.probability, 8)


def test_inspect_describes_the_bundle(tmp_path: Path) -> None:
    description = inspect_bundle(write_bundle(tmp_path / "fruit", "float32", labels=BGR_LABELS, manifest=MANIFEST))
    assert description.identity.name == "fruit"
    assert description.where.endswith("fruit/model.tflite")
    assert "1x16x16x3 float32" in description.input
    assert "1x3 float32" in description.output
    assert description.preprocessing == "16x16 bgr float32, crop, 0..255 as they are, resized, then converted"
