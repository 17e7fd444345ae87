"""The tiny models of tests/data/vision/models as bundles, and pictures that they can tell apart."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.errors import BundleInvalid
from gateway.vision.runtime import Choice, Runtime, load_runtime

MODELS = Path(__file__).resolve().parents[2] / "data" / "vision" / "models"
SHARED_MODELS = Path(__file__).resolve().parents[3] / ".." / "shared" / "models"

BGR_LABELS = "blue\ngreen\nred\n"
RGB_LABELS = "red\ngreen\nblue\n"
RUNTIMES: tuple[Choice, ...] = ("litert", "tflite-runtime")


def runtime_or_skip(name: Choice) -> Runtime:
    """Return that runtime, or skip: LiteRT has no wheel for armv7l, tflite-runtime none after Python 3.11."""
    try:
        return load_runtime(name)
    except BundleInvalid as error:
        pytest.skip(str(error))


def write_bundle(
    folder: Path, model: str, *, labels: str | None = RGB_LABELS, toml: str | None = None, manifest: str | None = None
) -> Path:
    """Make ``folder`` a bundle of the model of that name, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.tflite").write_bytes((MODELS / f"{model}.tflite").read_bytes())
    for name, text in (("labels.txt", labels), ("bundle.toml", toml), ("cvexport.manifest", manifest)):
        if text is not None:
            (folder / name).write_text(text)
    return folder


def picture(
    colour: tuple[int, int, int] | str, *, size: tuple[int, int] = (40, 30), file_format: str = "PNG", **options: Any
) -> bytes:
    """Return an encoded picture of one colour."""
    body = io.BytesIO()
    Image.new("RGB", size, colour).save(body, file_format, **options)
    return body.getvalue()
