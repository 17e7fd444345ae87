"""Inputs of a corpus, changed: bits, bytes, runs, cuts, repeats, splices, and numbers at their edges."""

import random
from collections.abc import Callable, Iterator, Sequence

_EDGES = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\r\n",
    b'"',
)


def _bit(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _byte(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    data[chance.randrange(len(data))] = chance.randrange(256)


def _edge(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    edge, at = chance.choice(_EDGES), chance.randrange(len(data))
    data[at : at + len(edge) * chance.randrange(2)] = edge


def _cut(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.randrange(1, 64)]


def _repeat(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    at = chance.randrange(len(data))
    data[at:at] = data[at : at + chance.randrange(1, 64)] * chance.randrange(1, 8)


def _splice(data: bytearray, chance: random.Random, corpus: Sequence[bytes]) -> None:
    other = chance.choice(corpus)
    if other:
        start = chance.randrange(len(other))
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(64)] = other[start : start + chance.randrange(1, 256)]


_CHANGES: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...] = (
    _bit, _byte, _edge, _cut, _repeat, _splice,
)  # fmt: skip


def mutated(corpus: Sequence[bytes], *, bytes_max: int, seed: int) -> Iterator[bytes]:
    """Yield changed inputs for ever; the same for the same seed."""
    chance = random.Random(seed)
    while True:
        data = bytearray(chance.choice(corpus)[:bytes_max])
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            if data:
                chance.choice(_CHANGES)(data, chance, corpus)
        yield bytes(data[:bytes_max])
