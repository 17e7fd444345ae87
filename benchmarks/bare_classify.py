"""The bare limit of classification: decode, pre-process, invoke, on N threads; no gateway code at all.

Usage: ``python -m benchmarks.bare_classify MODEL_FOLDER PICTURE THREADS SECONDS``. Prints a JSON line.
"""

import io
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps


def once(interpreter: Any, side: int, picture: bytes) -> Any:
    """Do what the exported container does for one picture, in the plainest code."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(picture)))
    width, height = image.size
    scale = side / min(width, height)
    image = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).convert("RGB")
    array = np.asarray(image, dtype=np.float32)[np.newaxis, :, :, ::-1]
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ascontiguousarray(array))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


def _loop(model: Path, picture: bytes, until: float, counts: list[int], index: int) -> None:
    interpreter = Interpreter(model_path=str(model / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    side = int(interpreter.get_input_details()[0]["shape"][1])
    while time.monotonic() < until:
        once(interpreter, side, picture)
        counts[index] += 1


def main(model: Path, picture: bytes, threads: int, seconds: float) -> None:
    """Run the loop and print pictures, CPU seconds and the time of one picture alone."""
    counts = [0] * threads
    until = time.monotonic() + seconds
    started_cpu = time.process_time()
    started = time.monotonic()
    workers = [threading.Thread(target=_loop, args=(model, picture, until, counts, n)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    pictures = sum(counts)
    wall = time.monotonic() - started
    print(
        json.dumps(
            {
                "pictures": pictures,
                "per_s": pictures / wall,
                "cpu_s_per_picture": (time.process_time() - started_cpu) / pictures,
                "ms_per_picture_and_thread": 1000 * wall * threads / pictures,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), int(sys.argv[3]), float(sys.argv[4]))
