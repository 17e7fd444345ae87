"""What is behind the fruit: sRGB pictures 0..1, float32, by name."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from gateway.simulators.fruit.texture import Array, Rgb, jitter, mix, smoothstep, value_noise

Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """A picture (rows, columns, 3), and whether fruit casts its shadow on it."""

    picture: Array
    has_ground: bool


def paint_background(rng: np.random.Generator, name: str, size: Size) -> Background:
    """Return the named background for a picture of ``size`` (width, height)."""
    paint, has_ground = _PAINTERS[name]
    return Background(picture=np.clip(paint(rng, size), 0.0, 1.0).astype(np.float32), has_ground=has_ground)


def _flat(size: Size, colour: Rgb) -> Array:
    return np.broadcast_to(np.asarray(colour, np.float32) / 255.0, (size[1], size[0], 3)).copy()


def _pick(rng: np.random.Generator, colours: tuple[Rgb, ...], spread: float = 12.0) -> Rgb:
    return jitter(rng, colours[int(rng.integers(len(colours)))], spread)


def _array(image: Image.Image) -> Array:
    return np.asarray(image, np.float32) / 255.0


_WOODS: tuple[Rgb, ...] = ((166, 120, 74), (122, 84, 52), (196, 160, 116), (96, 70, 50), (178, 168, 150))
_WALLS: tuple[Rgb, ...] = ((220, 212, 198), (176, 196, 208), (206, 190, 170), (128, 140, 132), (232, 226, 214))
_PAINTS: tuple[Rgb, ...] = ((170, 52, 44), (64, 112, 70), (210, 168, 62), (60, 92, 140))
_LEAVES: tuple[Rgb, ...] = ((96, 142, 60), (110, 150, 70), (84, 124, 64), (188, 78, 44), (206, 160, 60))
# Greens, reds and yellows on purpose: the colour of a thing nearby must not decide.
_THINGS: tuple[Rgb, ...] = (
    (200, 52, 44),
    (60, 130, 60),
    (236, 198, 60),
    (52, 84, 150),
    (230, 226, 214),
    (58, 56, 60),
    (160, 110, 70),
    (236, 140, 50),
    (130, 180, 90),
)


def _wood(rng: np.random.Generator, size: Size, colour: Rgb, *, planks: int) -> Array:
    """Return boards along the picture's width, with grain and dark joints."""
    width, height = size
    grain = value_noise(rng, (height, width), (height / 6, 3), octaves=3)
    broad = value_noise(rng, (height, width), (6, 2), octaves=2)
    tone = 0.72 + 0.36 * grain + 0.22 * (broad - 0.5)
    board = np.arange(height) * planks // height
    tone *= (0.9 + 0.2 * rng.random(planks))[board][:, None]
    within = (np.arange(height) * planks / height) % 1.0
    joint = np.exp(-((np.minimum(within, 1.0 - within) * height / planks / max(1.0, height / 240)) ** 2))
    boards: Array = _flat(size, colour) * (tone * (1.0 - 0.6 * joint[:, None]))[..., None]
    return boards


def _table(rng: np.random.Generator, size: Size) -> Array:
    width, height = size
    picture = _wood(rng, size, _pick(rng, _WOODS), planks=int(rng.integers(3, 7)))
    horizon = int(height * rng.uniform(0.15, 0.45))
    wall = _flat((width, horizon), _pick(rng, _WALLS))
    wall *= (0.85 + 0.3 * value_noise(rng, (horizon, width), (2, 3), octaves=2))[..., None]
    picture[:horizon] = wall
    # Out of focus towards the wall, so the edge is soft.
    rows = np.arange(height)
    picture *= (1.0 - 0.25 * np.exp(-(((rows - horizon) / (0.03 * height)) ** 2)))[:, None, None]
    return picture


def _crate(rng: np.random.Generator, size: Size) -> Array:
    width, height = size
    slats = int(rng.integers(4, 7))
    picture = _wood(rng, size, _pick(rng, _WOODS if rng.random() < 0.6 else _PAINTS), planks=slats)
    within = (np.arange(height) * slats / height) % 1.0
    gap = smoothstep(0.80, 0.86, within) * smoothstep(1.0, 0.96, within)
    picture = mix(picture, jitter(rng, (30, 26, 20), 6), np.broadcast_to(gap[:, None], (height, width)))
    for place in (rng.uniform(0.02, 0.12), rng.uniform(0.88, 0.98)):
        left, right = int((place - 0.05) * width), int((place + 0.05) * width)
        picture[:, max(left, 0) : right] *= 0.78
    return picture


def _sky(rng: np.random.Generator, size: Size) -> Array:
    width, height = size
    rows = np.linspace(0.0, 1.0, height)[:, None] * np.ones((1, width))
    picture = mix(_flat(size, jitter(rng, (96, 150, 214))), (214, 230, 240), rows)
    clouds = smoothstep(0.5, 0.75, value_noise(rng, (height, width), (3, 3), octaves=4))
    picture = mix(picture, (248, 248, 246), clouds * rng.uniform(0.2, 0.9))
    hill = height * (rng.uniform(0.62, 0.9) + 0.12 * (value_noise(rng, (1, width), (1, 5), octaves=3) - 0.5))
    below = smoothstep(-0.02 * height, 0.02 * height, np.arange(height)[:, None] - hill)
    leaves = value_noise(rng, (height, width), (20, 26), octaves=3)
    meadow = _flat(size, _pick(rng, ((84, 118, 56), (120, 130, 66), (150, 130, 84)))) * (0.6 + 0.8 * leaves)[..., None]
    return mix(picture, meadow, below)


def _clutter(rng: np.random.Generator, size: Size) -> Array:
    width, height = size
    image = Image.new("RGB", size, _pick(rng, _WALLS, 20))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(6, 16))):
        w, h = rng.uniform(0.08, 0.4) * width, rng.uniform(0.08, 0.5) * height
        x, y = rng.uniform(-0.1, 1.0) * width, rng.uniform(-0.1, 1.0) * height
        shape = pen.ellipse if rng.random() < 0.4 else pen.rectangle
        shape((x, y, x + w, y + h), fill=_pick(rng, _THINGS, 22))
    image = image.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR, fillcolor=_pick(rng, _WALLS))
    image = image.filter(ImageFilter.GaussianBlur(width * rng.uniform(0.003, 0.03)))
    shade = 0.75 + 0.5 * value_noise(rng, (height, width), (3, 3), octaves=2)
    return _array(image) * shade[..., None]


def _plain(rng: np.random.Generator, size: Size) -> Array:
    width, height = size
    colour = _pick(rng, (*_WALLS, *_THINGS, (24, 26, 30)), 25)
    slope = np.linspace(rng.uniform(0.7, 1.1), rng.uniform(0.7, 1.1), height)[:, None]
    tone = slope + 0.1 * (value_noise(rng, (height, width), (2, 2)) - 0.5)
    return np.asarray(_flat(size, colour) * tone[..., None])


def _foliage(rng: np.random.Generator, size: Size) -> Array:
    width, height = size
    image = Image.new("RGB", size, jitter(rng, (40, 60, 32)))
    colour = _LEAVES[int(rng.integers(len(_LEAVES)))]
    for depth in range(60):
        length = width * rng.uniform(0.10, 0.26)
        blade = Image.new("RGBA", (int(length), max(3, int(length * rng.uniform(0.25, 0.5)))))
        tone = 0.45 + 0.55 * depth / 60
        red, green, blue = jitter(rng, colour, 18)
        ImageDraw.Draw(blade).ellipse(
            (0, 0, blade.width - 1, blade.height - 1), fill=(int(red * tone), int(green * tone), int(blue * tone), 255)
        )
        blade = blade.rotate(rng.uniform(0, 360), Image.Resampling.BILINEAR, expand=True)
        image.paste(blade, (int(rng.uniform(-0.15, 1) * width), int(rng.uniform(-0.15, 1) * height)), blade)
    image = image.filter(ImageFilter.GaussianBlur(width * rng.uniform(0.004, 0.02)))
    return _array(image) * (0.7 + 0.6 * value_noise(rng, (height, width), (5, 6)))[..., None]


def _cloth(rng: np.random.Generator, size: Size) -> Array:
    """Return a gingham table-cloth: two sets of stripes, darker where they cross."""
    width, height = size
    squares = rng.uniform(7, 13)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) / np.float32(min(size))
    angle = rng.uniform(-0.5, 0.5)
    u, v = columns * np.cos(angle) + rows * np.sin(angle), rows * np.cos(angle) - columns * np.sin(angle)
    stripes = sum(smoothstep(-0.15, 0.15, np.sin(place * squares * np.pi)) for place in (u, v))
    colour = _pick(rng, ((58, 96, 160), (176, 60, 60), (80, 130, 96), (120, 110, 104)))
    picture = mix(_flat(size, (240, 236, 226)), colour, np.asarray(stripes) * 0.42)
    folds = value_noise(rng, (height, width), (3, 4), octaves=3)
    weave = rng.normal(0.0, 0.015, (height, width))
    tone = 0.82 + 0.3 * folds + weave
    return np.asarray(picture * tone[..., None])


def _conveyor(rng: np.random.Generator, size: Size) -> Array:
    """Return a dark belt between steel rails with a warning stripe."""
    width, height = size
    belt = (
        _flat(size, jitter(rng, (50, 54, 58), 8)) * (0.85 + 0.3 * value_noise(rng, (height, width), (40, 4)))[..., None]
    )
    image = Image.fromarray((np.clip(belt, 0, 1) * 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for top in (0.0, 0.86):
        pen.rectangle((0, top * height, width, (top + 0.14) * height), fill=jitter(rng, (150, 154, 158), 10))
        pen.rectangle((0, (top + 0.05) * height, width, (top + 0.09) * height), fill=jitter(rng, (214, 178, 40), 10))
    for seam in np.arange(rng.uniform(0, 0.3), 1.0, 0.3):
        pen.line(
            (seam * width, 0.14 * height, seam * width, 0.86 * height), fill=(30, 32, 36), width=max(1, width // 160)
        )
    return _array(image.filter(ImageFilter.GaussianBlur(width * 0.002)))


_PAINTERS: dict[str, tuple[Callable[[np.random.Generator, Size], Array], bool]] = {
    "table": (_table, True),
    "crate": (_crate, True),
    "cloth": (_cloth, True),
    "conveyor": (_conveyor, True),
    "plain": (_plain, True),
    "sky": (_sky, False),
    "clutter": (_clutter, False),
    "foliage": (_foliage, False),
}
