"""Any bytes are refused in our own words or become a result; never anything else."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from gateway.errors import Rejected, TooManyPixels
from gateway.settings import ModelSettings
from gateway.vision.image import check_pixels, decode, preprocess, read_header, weighed_pixels
from gateway.vision.picture_classifier import PictureClassifier, load_picture_classifier
from gateway.vision.preprocessing import ColourOrder, Preprocessing, Resize, custom_vision
from tests.unit.vision.models import write_bundle

PICTURES = [
    path.read_bytes() for path in sorted((Path(__file__).resolve().parents[1] / "data/vision/pictures").iterdir())
]
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
PIXELS_MAX = 100_000
LENIENT = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def classifier() -> PictureClassifier:
    with tempfile.TemporaryDirectory() as folder:
        model = write_bundle(Path(folder) / "model", "float32")
        return load_picture_classifier(ModelSettings(path=model), pixels_max=PIXELS_MAX)


def outcome(classifier: PictureClassifier, data: bytes) -> None:
    """Classify; a Rejected with words in it is as good as a result."""
    try:
        answer = classifier.classify_bytes(data)
    except Rejected as error:
        refused = error
    else:
        assert len(answer.predictions) == 3
        assert answer.image_width * answer.image_height <= PIXELS_MAX
        return
    assert refused.detail
    assert refused.cure
    assert "object at 0x" not in refused.detail


@LENIENT
@given(data=st.binary(max_size=600))
def test_any_bytes_are_refused_or_classified(classifier: PictureClassifier, data: bytes) -> None:
    outcome(classifier, data)


STARTS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"RIFF\x40\x00\x00\x00WEBPVP8 ",
    b"RIFF\x40\0\0\0WEBPVP8X",
)


@LENIENT
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=300))
def test_any_bytes_after_a_true_signature(classifier: PictureClassifier, start: bytes, rest: bytes) -> None:
    outcome(classifier, start + rest)


@settings(LENIENT, max_examples=1500)
@given(
    data=st.sampled_from(PICTURES),
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=8)), max_size=6),
    cut=st.integers(0, 2**16),
)
def test_any_damage_to_a_picture(
    classifier: PictureClassifier, data: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    damaged = bytearray(data)
    for at, new in changes:
        start = at % len(damaged)
        damaged[start : start + len(new)] = new
    if cut % 3 == 0:
        damaged = damaged[: cut % len(damaged)]
    outcome(classifier, bytes(damaged))


@LENIENT
@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    file_format=st.sampled_from(FORMATS),
    pixels_max=st.integers(1, 300_000),
)
def test_pixels_are_counted_before_decoding(width: int, height: int, file_format: str, pixels_max: int) -> None:
    body = io.BytesIO()
    Pillow.new("L" if file_format != "WEBP" else "RGB", (width, height)).save(body, file_format)
    header = read_header(body.getvalue())
    assert (header.width, header.height) == (width, height)
    if weighed_pixels(header) > pixels_max:
        with pytest.raises(TooManyPixels):
            check_pixels(header, pixels_max=pixels_max)
    else:
        check_pixels(header, pixels_max=pixels_max)


@LENIENT
@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    mode=st.sampled_from(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I")),
    resize=st.sampled_from(Resize),
    order=st.sampled_from(ColourOrder),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_every_shape_and_mode_becomes_the_models_tensor(
    width: int, height: int, mode: str, resize: Resize, order: ColourOrder, target: tuple[int, int]
) -> None:
    image = Pillow.new(mode, (width, height))
    spec = Preprocessing(width=target[0], height=target[1], resize=resize, colour_order=order)
    assert preprocess(image, spec).shape == (1, target[1], target[0], 1 if order is ColourOrder.GREY else 3)
    assert preprocess(image, custom_vision(target[0])).shape == (1, target[0], target[0], 3)


@LENIENT
@given(width=st.integers(1, 200), height=st.integers(1, 200), seed=st.integers(0, 2**32 - 1), side=st.integers(8, 64))
def test_custom_vision_tensor_equals_the_steps_as_documented(width: int, height: int, seed: int, side: int) -> None:
    if max(width / height, height / width) > 32:
        return  # beyond that only close: tests/unit/vision/test_image.py
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Pillow.fromarray(pixels)
    size = (round(width / height * side), side) if width > height else (side, round(height / width * side))
    resized = np.asarray(image.resize(size, Pillow.Resampling.BILINEAR))
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    expected = resized[top : top + side, left : left + side, ::-1]
    body = io.BytesIO()
    image.save(body, "PNG", compress_level=1)

    tensor = preprocess(decode(read_header(body.getvalue())), custom_vision(side))

    np.testing.assert_array_equal(tensor[0], expected)
