"""The demo model's pictures: which are drawn, from which seeds, and how the net sees them.

Every set has a stream of its own, so that no picture of one can be in another. A picture depends on the seed, its
stream and its number alone: sets can be drawn in any order and by any number of processes.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.simulators.fruit import FIELD, FruitKind, draw_fruit, jpeg_bytes
from gateway.vision.image import decode, preprocess, read_header
from gateway.vision.preprocessing import custom_vision

SEED = 20240501
SIDE = 224
LABELS = ("ripe", "unripe")  # the order of the model's outputs

# Width and height of what devices send, scaled down: at 224 pixels more would only cost time.
_SIZES = ((320, 240), (320, 240), (400, 300), (240, 240), (240, 320), (427, 240), (640, 480))


class Stream(IntEnum):
    """What a set of pictures is for."""

    TRAINING = 1
    VALIDATION = 2
    EXAMPLES = 3
    UNSEEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """Inputs (n, SIDE, SIDE, 3) BGR uint8 and classes (n,), indices into LABELS."""

    inputs: NDArray[np.uint8]
    classes: NDArray[np.int64]


def generator(stream: Stream, number: int, *, seed: int = SEED) -> np.random.Generator:
    """Return the randomness of one picture."""
    return np.random.default_rng([seed, int(stream), number])


def subject(number: int) -> tuple[FruitKind, bool]:
    """Return kind and ripeness of picture ``number``: all kinds and both classes equally often."""
    kinds = tuple(FruitKind)
    return kinds[(number // 2) % len(kinds)], number % 2 == 0


def net_input(encoded: bytes) -> NDArray[np.uint8]:
    """Return what the gateway feeds a Custom Vision export: (SIDE, SIDE, 3), BGR.

    As bytes, since all its values are whole; the net gets them as float32 0..255.
    """
    tensor = preprocess(decode(read_header(encoded)), custom_vision(SIDE))
    return np.asarray(tensor[0], np.uint8)


def _draw_one(job: tuple[Stream, int, int]) -> NDArray[np.uint8]:
    stream, number, seed = job
    rng = generator(stream, number, seed=seed)
    kind, ripe = subject(number)
    size = _SIZES[int(rng.integers(len(_SIZES)))]
    picture = draw_fruit(rng, kind=kind, ripe=ripe, size=size, conditions=FIELD)
    # Cameras send JPEG, and its blocks are part of what the net must bear.
    return net_input(jpeg_bytes(picture, quality=int(rng.integers(35, 96))))


def draw_set(stream: Stream, count: int, *, seed: int = SEED, processes: int = 2) -> PictureSet:
    """Return ``count`` drawn pictures, printing progress."""
    inputs = np.empty((count, SIDE, SIDE, 3), np.uint8)
    with ProcessPoolExecutor(processes) as pool:
        jobs = ((stream, number, seed) for number in range(count))
        for number, picture in enumerate(_progress(pool.map(_draw_one, jobs, chunksize=25), stream, count)):
            inputs[number] = picture
    classes = np.array([0 if subject(number)[1] else 1 for number in range(count)], np.int64)
    return PictureSet(inputs=inputs, classes=classes)


def _progress(pictures: Iterator[Any], stream: Stream, count: int) -> Iterator[Any]:
    for number, picture in enumerate(pictures, start=1):
        yield picture
        if number % 500 == 0 or number == count:
            print(f"drawn: {number}/{count} {stream.name.lower()} pictures", flush=True)
