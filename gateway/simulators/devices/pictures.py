"""What simulated cameras see: files, over and over, or freshly drawn fruit."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from itertools import count, cycle
from pathlib import Path

from gateway.errors import OperatorError
from gateway.simulators.fruit import FruitKind, fruit_jpeg

# What an ESP32 camera sends: 30 to 60 kB.
DRAWN_SIZE = (800, 600)


def pictures(files: Sequence[Path], *, seed: int = 0) -> Iterator[bytes]:
    """Yield encoded pictures for ever: those of ``files`` in turn, or, if there are none, another fruit each time."""
    if files:
        return cycle([_read(file) for file in files])
    return _drawn(seed)


class Prefetched:
    """Pictures of which the next is always drawn already, by another thread: drawing takes a quarter of a second.

    Await ``ready`` before the first; it raises what the drawing raised.
    """

    def __init__(self, pictures: Iterator[bytes], pool: Executor) -> None:
        self._pictures = pictures
        self._pool = pool
        self._next = pool.submit(next, pictures, None)

    async def ready(self) -> None:
        """Return when the next picture is there."""
        await asyncio.wrap_future(self._next)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        picture = self._next.result()
        if picture is None:
            raise StopIteration
        self._next = self._pool.submit(next, self._pictures, None)
        return picture


def _drawn(seed: int) -> Iterator[bytes]:
    kinds = tuple(FruitKind)
    for number in count(seed):
        # Both classes of every kind, in turn.
        yield fruit_jpeg(number, kind=kinds[number // 2 % len(kinds)], ripe=number % 2 == 0, size=DRAWN_SIZE)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise OperatorError(f"{file} can't be read: {error.strerror}. Name a picture, for example a JPEG.") from error
