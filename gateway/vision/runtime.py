"""The one door to the TFLite runtimes: LiteRT (ai-edge-litert) and tflite-runtime.

Owns: choosing one, constructing interpreters, and turning what they raise about a bad model into BundleInvalid.
An engine may be used by one thread at a time; ``run`` releases the GIL while the model computes.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gateway.errors import BundleInvalid
from gateway.vision.preprocessing import Quantisation
from gateway.vision.tflite_file import check_whole

Choice = Literal["auto", "litert", "tflite-runtime"]

# setting → (module, distribution). The order is what auto tries: quantised models run ten times faster on LiteRT.
_RUNTIMES: dict[str, tuple[str, str]] = {
    "litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite-runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
}

# What the interpreters raise for a model: ValueError (not a model), RuntimeError (unknown operator, bad shapes).
_MODEL_ERRORS = (ValueError, RuntimeError, TypeError, OverflowError)
_QUANTISED = frozenset({"uint8", "int8", "int16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output. A -1 in ``signature`` is a dimension that may be chosen."""

    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    quantisation: Quantisation

    def describe(self) -> str:
        """Return one line for people."""
        shape = "x".join(
            "?" if chosen == -1 else str(size) for size, chosen in zip(self.shape, self.signature, strict=True)
        )
        scale = f", scale {self.quantisation.scale:g}, zero point {self.quantisation.zero_point}"
        return f"{self.name or 'unnamed'} {shape} {self.dtype}{scale if self.quantisation.scale else ''}"


class Engine:
    """One interpreter with its tensors allocated."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self.inputs = tuple(_tensor_spec(details) for details in interpreter.get_input_details())
        self.outputs = tuple(_tensor_spec(details) for details in interpreter.get_output_details())

    @property
    def computes_quantised(self) -> bool:
        """Whether something in it is quantised; its input and output may be float all the same."""
        return any(np.dtype(tensor["dtype"]).name in _QUANTISED for tensor in self._interpreter.get_tensor_details())

    def run(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a copy of the first output for ``tensor`` as the first input."""
        self._interpreter.set_tensor(self.inputs[0].index, tensor)
        self._interpreter.invoke()
        output: npt.NDArray[Any] = self._interpreter.get_tensor(self.outputs[0].index)
        return output


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A runtime that could be imported. ``name`` carries its version, e.g. ``litert 2.3.0``."""

    name: str
    interpreter: Callable[..., Any]

    def engine(self, model: bytes, *, input_shape: tuple[int, ...] | None = None) -> Engine:
        """Return a new engine of one thread. ``model`` must outlive it; engines share its bytes.

        ``input_shape`` resizes an input that has free dimensions. Raises BundleInvalid for a model that can't run.
        """
        check_whole(model)
        try:
            with _without_chatter():
                interpreter = self.interpreter(model_content=model, num_threads=1)
                if input_shape is not None:
                    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], input_shape)
                interpreter.allocate_tensors()
                return Engine(interpreter)
        except _MODEL_ERRORS as error:
            raise BundleInvalid(self._explain(error)) from error

    def try_once(self, engine: Engine) -> npt.NDArray[Any]:
        """Run the engine on zeros: some kernels refuse only then. Raises BundleInvalid."""
        shape, dtype = engine.inputs[0].shape, engine.inputs[0].dtype
        try:
            with _without_chatter():
                return engine.run(np.zeros(shape, dtype=dtype))
        except _MODEL_ERRORS as error:
            raise BundleInvalid(self._explain(error)) from error

    def _explain(self, error: Exception) -> str:
        text = " ".join(str(error).split())
        if "unresolved custom op" in text or "Select TensorFlow op" in text or "Didn't find op" in text:
            cure = (
                "Convert the model again with built-in operators only "
                "(converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]), or use another runtime."
            )
            return f"{self.name} does not know an operator of the model: {text}. {cure}"
        return f"{self.name} can't run the model: {text}. Try the other model.runtime, or convert the model again."


def load_runtime(choice: Choice = "auto") -> Runtime:
    """Return the runtime of that name, or for ``auto`` the first that is installed. Raises BundleInvalid if none is."""
    names = list(_RUNTIMES) if choice == "auto" else [choice]
    reasons = []
    for name in names:
        module, distribution = _RUNTIMES[name]
        try:
            with _without_chatter():
                interpreter = import_module(module).Interpreter
        except (ImportError, OSError) as error:  # OSError: a shared library that this machine's libc can't load
            reasons.append(f"{name}: {error}")
            continue
        _refuse_numpy_2(name)
        return Runtime(name=f"{name} {_version(distribution)}", interpreter=interpreter)
    raise BundleInvalid(
        f"no TFLite runtime can be loaded ({'; '.join(reasons)}). "
        "Install one: pip install ai-edge-litert (x86_64, aarch64), or tflite-runtime (Python up to 3.11, armv7l too)."
    )


def _refuse_numpy_2(name: str) -> None:
    # tflite-runtime 2.14 was built against NumPy 1: with 2 it imports, and fails when an interpreter is made.
    if name == "tflite-runtime" and int(np.__version__.split(".")[0]) >= 2:
        raise BundleInvalid(
            f"tflite-runtime needs NumPy below 2 and {np.__version__} is installed: "
            'pip install "numpy<2", or pip install ai-edge-litert where that exists.'
        )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


def _tensor_spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    shape = tuple(int(size) for size in details["shape"])
    signature = tuple(int(size) for size in details.get("shape_signature", shape))
    return TensorSpec(
        index=int(details["index"]),
        name=str(details["name"]),
        shape=shape,
        signature=signature if len(signature) == len(shape) else shape,
        dtype=np.dtype(details["dtype"]).name,
        quantisation=Quantisation(scale=float(scale), zero_point=int(zero_point)),
    )


# --- the native libraries' own words ------------------------------------------------------------------

_CHATTER = (b"INFO: Created TensorFlow Lite", b"INFO: Initialized TensorFlow Lite", b"VERBOSE: ")


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Drop known chatter of native code from stderr; everything else that was written meanwhile is passed on.

    File descriptor 2 belongs to the process: this is for the start, before devices are served.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    with tempfile.TemporaryFile() as said:
        _flush_stderr()
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            _flush_stderr()
            os.dup2(stderr, 2)
            os.close(stderr)
            said.seek(0)
            rest = b"".join(line for line in said if not line.startswith(_CHATTER))
            if rest:
                os.write(2, rest)


def _flush_stderr() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
