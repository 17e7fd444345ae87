"""What simulated cameras see: files, over and over, or freshly drawn fruit."""

from collections.abc import Iterator, Sequence
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
