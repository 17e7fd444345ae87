"""Runs a quantised model once in a process of its own, on machines whose kernels are known to crash on some.

On 32-bit ARM the kernel of tflite-runtime 2.14 for a dense (fully connected) layer, quantised per channel as today's
converter does it, ends with SIGSEGV when the layer has two or three outputs, or fewer than eight inputs: a classifier
of two or three classes. It does so whether the model's own input is quantised or float. Found by trying sizes, under
QEMU; quantised per tensor the same layers run, and so do convolutions. In the gateway that would be a crash at each
start, without a word of why; in a child it is a refusal with the cure.

``python -m gateway.vision.trial RUNTIME [SHAPE]`` reads the model from standard input; SHAPE as 1x224x224x3.
"""

import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Literal, cast

from gateway.errors import BundleInvalid
from gateway.vision.runtime import Engine, Runtime, load_runtime

IS_32_BIT = struct.calcsize("P") == 4
# Importing NumPy and the runtime takes 3 s on a small Pi, a large quantised model there about as long.
TRIAL_TIMEOUT_S = 120.0


def needs_trial(engine: Engine, *, is_32_bit: bool = IS_32_BIT) -> bool:
    """Return whether the kernels for this model may crash here."""
    return is_32_bit and engine.computes_quantised


def try_apart(
    model: bytes, *, runtime: Runtime, input_shape: tuple[int, ...] | None, command: Sequence[str] | None = None
) -> None:
    """Return once the model ran in a child. Raises BundleInvalid if it crashed, or did not answer, there."""
    arguments = command or [sys.executable, "-m", "gateway.vision.trial", runtime.name.split()[0], *_shape(input_shape)]
    try:
        # Our own interpreter and module.
        done = subprocess.run(  # noqa: S603
            arguments, input=model, capture_output=True, timeout=TRIAL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BundleInvalid(
            f"{runtime.name} did not run the model within {TRIAL_TIMEOUT_S:g} s: use a smaller or a float one"
        ) from error
    if done.returncode < 0:
        raise BundleInvalid(
            f"{runtime.name} crashes on this model (signal {-done.returncode}). On 32-bit ARM it does on a dense layer "
            "of two or three classes that is quantised per channel. Convert the model again with "
            "converter._experimental_disable_per_channel_quantization_for_dense_layers = True, or without quantisation "
            "(float32), or use a 64-bit system."
        )
    # Whatever else went wrong there will go wrong here too, and is explained then.


def _shape(input_shape: tuple[int, ...] | None) -> list[str]:
    return [] if input_shape is None else ["x".join(map(str, input_shape))]


def main(arguments: Sequence[str]) -> None:
    """Run the model of standard input once, on zeros."""
    shape = tuple(map(int, arguments[1].split("x"))) if len(arguments) > 1 else None
    runtime = load_runtime(cast("Literal['litert', 'tflite-runtime']", arguments[0]))
    runtime.try_once(runtime.engine(sys.stdin.buffer.read(), input_shape=shape))


if __name__ == "__main__":
    main(sys.argv[1:])
