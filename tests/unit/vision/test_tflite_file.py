"""The check that keeps a damaged model file away from native code."""

import random

import pytest

from gateway.errors import BundleInvalid
from gateway.vision.tflite_file import check_whole, read_metadata
from tests.unit.vision.models import MODELS


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.tflite")), ids=lambda path: path.stem)
def test_whole_models_pass(path: object) -> None:
    check_whole((MODELS / str(path)).read_bytes())


def test_every_cut_is_found() -> None:
    # tflite-runtime 2.14 dies with SIGSEGV on most of these.
    model = (MODELS / "float32.tflite").read_bytes()
    for length in range(8, len(model) - 16):
        with pytest.raises(BundleInvalid):
            check_whole(model[:length])


def test_overwritten_bytes_raise_nothing_else() -> None:
    model = (MODELS / "metadata.tflite").read_bytes()
    chance = random.Random(4)
    for _ in range(3000):
        damaged = bytearray(model)
        at = chance.randrange(8, len(damaged) - 4)
        damaged[at : at + 4] = chance.randbytes(4)
        try:
            check_whole(bytes(damaged))
            read_metadata(bytes(damaged))
        except BundleInvalid:
            continue


def test_metadata_is_read() -> None:
    metadata = read_metadata((MODELS / "metadata.tflite").read_bytes())
    assert metadata is not None
    assert metadata.name == "colours"
    assert metadata.mean == (127.5,)
    assert metadata.std == (127.5,)
    assert metadata.labels == b"red\ngreen\nblue"


def test_a_model_without_metadata_has_none() -> None:
    assert read_metadata((MODELS / "float32.tflite").read_bytes()) is None
