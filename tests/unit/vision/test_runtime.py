"""The door to the TFLite runtimes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gateway.errors import BundleInvalid
from gateway.vision.runtime import load_runtime
from tests.unit.vision.models import MODELS, runtime_or_skip

ROOT = Path(__file__).resolve().parents[3]


def test_auto_prefers_litert() -> None:
    runtime_or_skip("litert")
    assert load_runtime("auto").name.startswith("litert ")


def test_auto_falls_back_to_tflite_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime_or_skip("tflite-runtime")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert load_runtime("auto").name.startswith("tflite-runtime ")


def test_a_named_runtime_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(BundleInvalid, match="pip install ai-edge-litert"):
        load_runtime("litert")


def test_numpy_2_is_refused_before_tflite_runtime_trips_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime_or_skip("tflite-runtime")
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(BundleInvalid, match="numpy<2"):
        load_runtime("tflite-runtime")


def test_heavy_modules_are_not_imported_before_they_are_chosen() -> None:
    check = "import sys, gateway.vision.classifier; print([m for m in sys.modules if 'litert' in m or 'tflite_r' in m])"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_native_chatter_stays_out_of_stderr_and_the_rest_stays_in() -> None:
    script = (
        "import os, sys\n"
        "from gateway.vision.runtime import load_runtime, _without_chatter\n"
        "runtime = load_runtime()\n"
        f"engine = runtime.engine(open({str(MODELS / 'float32.tflite')!r}, 'rb').read())\n"
        "runtime.try_once(engine)\n"
        "with _without_chatter():\n"
        "    os.write(2, b'INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\nsomething else\\n')\n"
        "print('after', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stderr == "something else\nafter\n"
    assert done.stdout == ""
