"""A model whose kernels crash is refused with the cure, not found out by a crash of the gateway."""

import contextlib
import subprocess
import sys

import pytest

from gateway.errors import BundleInvalid
from gateway.vision.runtime import Engine, load_runtime
from gateway.vision.trial import IS_32_BIT, needs_trial, try_apart
from tests.unit.vision.models import MODELS

CRASHES = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]


def model(name: str) -> bytes:
    return (MODELS / f"{name}.tflite").read_bytes()


def engine(name: str) -> Engine:
    return load_runtime().engine(model(name))


def test_only_quantised_models_on_32_bits_are_tried_apart() -> None:
    assert needs_trial(engine("int8"), is_32_bit=True)
    assert needs_trial(engine("uint8"), is_32_bit=True)
    assert needs_trial(engine("int8_dense_inside"), is_32_bit=True)  # its input and output are float
    assert not needs_trial(engine("float32"), is_32_bit=True)
    assert not needs_trial(engine("int8"), is_32_bit=False)


def test_a_model_that_crashes_the_child_is_refused_with_the_cure() -> None:
    with pytest.raises(BundleInvalid, match=r"signal 11.*without quantisation"):
        try_apart(model("int8"), runtime=load_runtime(), input_shape=None, command=CRASHES)


@pytest.mark.parametrize("name", ["int8_dense", "int8_dense_inside"])
def test_a_dense_layer_of_three_classes_quantised_per_channel_is_refused_where_it_crashes(name: str) -> None:
    """The real thing: SIGSEGV with tflite-runtime 2.14 on 32-bit ARM; elsewhere it runs."""
    refused = pytest.raises(BundleInvalid, match=r"signal 11.*per_channel") if IS_32_BIT else contextlib.nullcontext()
    with refused:
        try_apart(model(name), runtime=load_runtime(), input_shape=None)


@pytest.mark.parametrize("name", ["int8", "uint8"])
def test_a_quantised_convolution_runs_in_the_child_on_every_machine(name: str) -> None:
    assert run_child(model(name)) == 0


@pytest.mark.parametrize(("name", "shape"), [("float32", []), ("open_size", ["1x16x16x3"])])
def test_the_child_runs_the_model_in_the_shape_that_was_chosen(name: str, shape: list[str]) -> None:
    assert run_child(model(name), *shape) == 0


def test_the_child_fails_on_what_is_no_model() -> None:
    assert run_child(b"no model") > 0


def run_child(data: bytes, *shape: str) -> int:
    runtime = load_runtime().name.split()[0]
    arguments = [sys.executable, "-m", "gateway.vision.trial", runtime, *shape]
    return subprocess.run(arguments, input=data, capture_output=True, check=False).returncode
