"""Draws the committed pictures: ``examples/`` and ``tests/data/unseen-fruit/``.

    python -m training.draw_pictures [--out FOLDER]

Their seeds are apart from training's; the unseen ones also have backgrounds that training never shows
(gingham cloth, conveyor belt) and light at the rim of its range.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from gateway.simulators.fruit import HELD_OUT, STUDIO, FruitKind, draw_fruit
from training.pictures import Stream, generator, subject

UNSEEN_COUNT = 108
UNSEEN_SIZES = ((320, 240), (240, 320), (280, 240), (256, 256))
UNSEEN_QUALITY = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One picture of ``examples/``; the number chooses its randomness, and was chosen by eye."""

    name: str
    kind: FruitKind
    ripe: bool
    background: str
    number: int
    size: tuple[int, int] = (1024, 768)


_K = FruitKind
EXAMPLES = (
    Example(name="apple-ripe.jpg", kind=_K.APPLE, ripe=True, background="cloth", number=1),
    Example(name="apple-unripe.jpg", kind=_K.APPLE, ripe=False, background="sky", number=2),
    Example(name="avocado-ripe.jpg", kind=_K.AVOCADO, ripe=True, background="table", number=151),
    Example(name="banana-ripe.jpg", kind=_K.BANANA, ripe=True, background="table", number=183),
    Example(name="banana-unripe.jpg", kind=_K.BANANA, ripe=False, background="cloth", number=112),
    Example(name="mango-ripe.jpg", kind=_K.MANGO, ripe=True, background="table", number=5),
    Example(name="mango-unripe.jpg", kind=_K.MANGO, ripe=False, background="table", number=134),
    Example(
        name="strawberry-ripe.webp", kind=_K.STRAWBERRY, ripe=True, background="cloth", number=123, size=(800, 600)
    ),
    Example(name="tomato-ripe.jpg", kind=_K.TOMATO, ripe=True, background="table", number=8, size=(640, 480)),
    Example(name="tomato-unripe.png", kind=_K.TOMATO, ripe=False, background="crate", number=174, size=(400, 300)),
)


def draw_examples(folder: Path) -> None:
    """Write the examples; the PNG has a palette, as small web pictures do."""
    folder.mkdir(parents=True, exist_ok=True)
    for example in EXAMPLES:
        rng = generator(Stream.EXAMPLES, example.number)
        conditions = replace(STUDIO, backgrounds=(example.background,))
        picture = draw_fruit(rng, kind=example.kind, ripe=example.ripe, size=example.size, conditions=conditions)
        target = folder / example.name
        if target.suffix == ".png":
            palette = picture.quantize(256)
            picture.quantize(256, palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(target, optimize=True)
        else:
            picture.save(target, quality=82)


def draw_unseen(folder: Path) -> None:
    """Write the unseen pictures in place of those there; a name ends with the truth: ``012-mango-ripe.jpg``."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.jpg"):
        stale.unlink()
    for number in range(UNSEEN_COUNT):
        kind, ripe = subject(number)
        rng = generator(Stream.UNSEEN, number)
        size = UNSEEN_SIZES[int(rng.integers(len(UNSEEN_SIZES)))]
        picture = draw_fruit(rng, kind=kind, ripe=ripe, size=size, conditions=HELD_OUT)
        name = f"{number:03d}-{kind}-{'ripe' if ripe else 'unripe'}.jpg"
        picture.save(folder / name, quality=UNSEEN_QUALITY, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1], help="the checkout")
    out = parser.parse_args().out
    draw_examples(out / "examples")
    draw_unseen(out / "tests" / "data" / "unseen-fruit")


if __name__ == "__main__":
    main()
