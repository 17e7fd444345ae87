"""The six kinds of fruit: outline, skin and how ripeness shows in each.

Ripeness runs from 0 to 1. A map of it over the skin (uneven, greener at the stem, ...) goes through the kind's
colour ramp; what else tells ripe from unripe (flecks, blush, lenticels) is the kind's own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from PIL import Image, ImageDraw

from gateway.simulators.fruit.surface import Patch, Surface, capsule, cover, dome, leaf
from gateway.simulators.fruit.texture import Array, Rgb, Span, jitter, mix, ramp_colour, smoothstep, value_noise


class FruitKind(StrEnum):
    """What can be drawn."""

    APPLE = "apple"
    AVOCADO = "avocado"
    BANANA = "banana"
    MANGO = "mango"
    STRAWBERRY = "strawberry"
    TOMATO = "tomato"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ripeness:
    """How ripe the fruit is as a whole, and how uneven."""

    level: float
    spread: float


Ramp = tuple[tuple[float, Rgb], ...]

BANANA_RAMP: Ramp = (
    (0.0, (84, 130, 46)),
    (0.3, (128, 160, 58)),
    (0.5, (186, 188, 70)),
    (0.7, (240, 206, 68)),
    (0.9, (242, 192, 52)),
    (1.0, (224, 164, 44)),
)
APPLE_RAMP: Ramp = (
    (0.0, (120, 162, 58)),
    (0.3, (162, 182, 80)),
    (0.5, (216, 176, 92)),
    (0.7, (206, 72, 50)),
    (1.0, (160, 22, 34)),
)
# The one that turns dark and not bright: green decides nothing by itself.
AVOCADO_RAMP: Ramp = (
    (0.0, (98, 146, 50)),
    (0.3, (108, 142, 60)),
    (0.5, (92, 104, 54)),
    (0.7, (88, 68, 58)),
    (1.0, (66, 46, 54)),
)
TOMATO_RAMP: Ramp = (
    (0.0, (98, 142, 58)),
    (0.3, (150, 168, 82)),
    (0.5, (216, 152, 72)),
    (0.7, (226, 84, 42)),
    (1.0, (198, 26, 24)),
)
MANGO_RAMP: Ramp = (
    (0.0, (66, 108, 50)),
    (0.3, (108, 140, 62)),
    (0.5, (182, 172, 70)),
    (0.7, (240, 182, 60)),
    (1.0, (244, 144, 42)),
)
STRAWBERRY_RAMP: Ramp = (
    (0.0, (186, 200, 134)),
    (0.3, (230, 220, 184)),
    (0.5, (238, 160, 130)),
    (0.7, (220, 48, 44)),
    (1.0, (178, 16, 30)),
)
BARK: Rgb = (92, 66, 40)
LEAF: Rgb = (72, 124, 48)
AUTUMN_LEAF: Rgb = (186, 92, 44)


def build(rng: np.random.Generator, kind: FruitKind, patch: Patch, ripeness: Ripeness) -> list[Surface]:
    """Return the bodies of one fruit, the farthest first."""
    return _BUILDERS[kind](rng, patch, ripeness)


def _uneven(rng: np.random.Generator, patch: Patch, ripeness: Ripeness, *, stem_lag: float) -> Array:
    """Return ripeness over the skin: patchy, riper on one side, and behind by ``stem_lag`` at the stem."""
    clouds = value_noise(rng, patch.shape, (4, 4)) - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    sunny = patch.x * np.cos(angle) + patch.y * np.sin(angle)
    stem = smoothstep(0.2, 1.0, -patch.y)
    skin: Array = ripeness.level + ripeness.spread * (1.3 * clouds + 0.45 * sunny) - stem_lag * stem
    return skin


def _spots(rng: np.random.Generator, patch: Patch, count: int, radii: Span, *, x_scale: float = 1.0) -> Array:
    """Return cover 0..1 of small marks strewn over the unit disc, ``x_scale`` times as wide as high."""
    # Drawn in pixels at twice the size: a loop of NumPy fields costs a second on a large fruit.
    size = patch.x.shape[0] * 2
    canvas = Image.new("L", (size, size))
    pen = ImageDraw.Draw(canvas)
    for _ in range(count):
        distance, angle = np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        radius = rng.uniform(*radii) * 2 / patch.step
        x, y = size / 2 + np.array([np.cos(angle), np.sin(angle)]) * distance * 2 / patch.step
        pen.ellipse((x - radius * x_scale, y - radius, x + radius * x_scale, y + radius), fill=255)
    return np.asarray(canvas.reduce(2), np.float32) / 255.0


def _profile(places: Array, knots: list[float], widths: list[float]) -> Array:
    """Return half-widths at evenly spaced places along a body, through the knots, with their corners rounded."""
    return np.convolve(np.pad(np.interp(places, knots, widths), 3, mode="edge"), np.full(7, 1 / 7), mode="valid")


def _turned_on_a_lathe(patch: Patch, width: Array) -> tuple[Array, Array]:
    """Return the outline function and the half-widths of a body of revolution that is ``width`` wide at each height."""
    width = np.maximum(width, 0.01)
    # Capped: a cliff in q beyond the ends would read as an edge.
    return np.where(np.abs(patch.y) < 1.0, np.minimum(np.abs(patch.x) / width, 9.0), 9.0), width


def _polar(patch: Patch) -> tuple[Array, Array]:
    """Return distance from the centre and angle from the stem, -π..π."""
    return np.hypot(patch.x, patch.y), np.arctan2(patch.x, -patch.y)


def _apple(rng: np.random.Generator, patch: Patch, ripeness: Ripeness) -> list[Surface]:
    rho, theta = _polar(patch)
    outline = 0.96 - 0.13 * np.exp(-((theta / 0.42) ** 2)) - 0.07 * np.exp(-(((np.abs(theta) - np.pi) / 0.3) ** 2))
    outline = outline * (1.0 + 0.05 * np.sin(np.abs(theta)) ** 2 + rng.uniform(0.0, 0.06) * np.cos(theta))
    q = rho / outline
    pit = np.exp(-((patch.x / 0.24) ** 2) - ((patch.y + 0.74) / 0.13) ** 2)
    ripe_map = _uneven(rng, patch, ripeness, stem_lag=0.16)
    # Stripes run from stem to blossom: noise in the angle, hardly any along it.
    meridian = patch.x / np.maximum(np.sqrt(np.clip(1.0 - patch.y**2, 0.04, 1.0)), 0.2)
    stripes = np.interp(meridian, np.linspace(-1.3, 1.3, 64), rng.random(64))
    ripe_map = ripe_map + 0.16 * (stripes - 0.5) * smoothstep(0.35, 0.7, ripe_map)
    colour = ramp_colour(APPLE_RAMP, ripe_map)
    colour = mix(colour, (232, 214, 160), 0.55 * _spots(rng, patch, 40, (0.008, 0.016)))
    colour = mix(colour, (70, 52, 24), 0.75 * pit)
    body = Surface(alpha=cover(patch, q), colour=colour, height=dome(q) - 0.22 * pit, gloss=0.5)
    lean = rng.uniform(-0.22, 0.22)
    parts = [body, capsule(patch, (0.0, -0.70), (lean, -1.15), (0.035, 0.05), jitter(rng, BARK))]
    if rng.random() < 0.5:
        side = float(rng.choice([-1.0, 1.0])) * rng.uniform(40, 75)
        length = rng.uniform(0.45, 0.65)
        parts.append(
            leaf(patch, (lean * 0.7, -0.98), degrees=side, length=length, breadth=0.30, colour=jitter(rng, LEAF))
        )
    return parts


_AVOCADO_PLACES = np.linspace(-1.0, 1.0, 81)
_AVOCADO_WIDTHS = _profile(
    _AVOCADO_PLACES,
    [-1.0, -0.96, -0.88, -0.7, -0.4, 0.0, 0.35, 0.65, 0.85, 0.95, 1.0],
    [0.03, 0.22, 0.34, 0.46, 0.62, 0.89, 1.0, 0.90, 0.64, 0.38, 0.03],
)


def _avocado(rng: np.random.Generator, patch: Patch, ripeness: Ripeness) -> list[Surface]:
    slim = rng.uniform(0.64, 0.74)
    q, width = _turned_on_a_lathe(patch, slim * np.interp(patch.y, _AVOCADO_PLACES, _AVOCADO_WIDTHS))
    ripe_map = _uneven(rng, patch, ripeness, stem_lag=0.05)
    # The skin is pebbled at any age; only young skin has pale pores.
    pebbles = value_noise(rng, patch.shape, (26, 26), octaves=2)
    colour = ramp_colour(AVOCADO_RAMP, ripe_map) * (0.82 + 0.36 * pebbles)[..., None]
    pores = _spots(rng, patch, 60, (0.008, 0.015))
    colour = mix(colour, (190, 196, 120), (0.5 if ripeness.level < 0.5 else 0.12) * pores)
    body = Surface(alpha=cover(patch, q), colour=colour, height=width * dome(q) + 0.035 * pebbles, gloss=0.3)
    return [body, capsule(patch, (0.0, -0.88), (rng.uniform(-0.05, 0.05), -1.03), (0.06, 0.05), jitter(rng, BARK))]


def _tomato(rng: np.random.Generator, patch: Patch, ripeness: Ripeness) -> list[Surface]:
    rho, theta = _polar(patch)
    lobes = 1.0 + 0.02 * np.cos(theta * rng.integers(4, 7) + rng.uniform(0, 6))
    outline = (0.94 - 0.07 * np.exp(-((theta / 0.5) ** 2))) * lobes * (1.0 + 0.07 * np.sin(theta) ** 2)
    q = rho / outline
    ripe_map = _uneven(rng, patch, ripeness, stem_lag=rng.uniform(0.0, 0.2))
    # A breaker blushes from the blossom end while the rest is still green: that is still unripe.
    if ripeness.level < 0.45 and rng.random() < 0.35:
        ripe_map = ripe_map + 0.30 * smoothstep(0.45, 1.0, patch.y)
    colour = ramp_colour(TOMATO_RAMP, ripe_map)
    body = Surface(alpha=cover(patch, q), colour=colour, height=dome(q), gloss=0.75)
    green = jitter(rng, (78, 122, 44))
    parts = [body]
    parts += [
        leaf(patch, (0.0, -0.74), degrees=degrees, length=rng.uniform(0.42, 0.58), breadth=0.16, colour=green)
        for degrees in np.linspace(-115, 115, 5) + rng.normal(0, 9, 5)
    ]
    parts.append(capsule(patch, (0.0, -0.74), (rng.uniform(-0.12, 0.12), -1.0), (0.05, 0.06), green))
    return parts


def _mango(rng: np.random.Generator, patch: Patch, ripeness: Ripeness) -> list[Surface]:
    # The beak: the body bends and narrows towards the blossom end.
    bend = patch.x - 0.16 * (patch.y * patch.y - 0.35)
    waist = 0.70 - 0.10 * patch.y - 0.05 * patch.y**2
    q = np.hypot(bend / waist, patch.y / 0.98)
    ripe_map = _uneven(rng, patch, ripeness, stem_lag=0.08)
    colour = ramp_colour(MANGO_RAMP, ripe_map)
    # Sun makes the blush, not ripeness: green mangoes have it too, so the ground colour must decide.
    angle = rng.uniform(-2.6, -0.6)
    sunny = patch.x * np.cos(angle) + patch.y * np.sin(angle) + 0.5 * (value_noise(rng, patch.shape, (5, 5)) - 0.5)
    colour = mix(colour, (186, 48, 40), rng.uniform(0.0, 0.6) * smoothstep(0.15, 0.75, sunny))
    pores = _spots(rng, patch, 70, (0.008, 0.014), x_scale=0.9)
    ripe = ripeness.level > 0.5
    colour = mix(colour, (250, 222, 150) if not ripe else (150, 86, 30), 0.5 * pores)
    if ripe:
        colour = mix(colour, (62, 40, 20), 0.85 * _spots(rng, patch, int(rng.integers(0, 9)), (0.015, 0.045)))
    body = Surface(alpha=cover(patch, q), colour=colour, height=0.8 * dome(q), gloss=0.35)
    return [body, capsule(patch, (-0.06, -0.90), (-0.08, -1.04), (0.05, 0.035), jitter(rng, BARK))]


_BERRY_PLACES = np.linspace(-1.0, 1.0, 81)
_BERRY_WIDTHS = _profile(
    _BERRY_PLACES,
    [-1.0, -0.94, -0.82, -0.6, -0.25, 0.2, 0.6, 0.85, 0.95, 1.0],
    [0.05, 0.38, 0.65, 0.90, 1.0, 0.87, 0.57, 0.32, 0.18, 0.03],
)


def _strawberry(rng: np.random.Generator, patch: Patch, ripeness: Ripeness) -> list[Surface]:
    slim = rng.uniform(0.72, 0.84)
    q, width = _turned_on_a_lathe(patch, slim * np.interp(patch.y, _BERRY_PLACES, _BERRY_WIDTHS))
    # White shoulders under the leaves stay on many a ripe berry.
    ripe_map = _uneven(rng, patch, ripeness, stem_lag=rng.uniform(0.05, 0.30))
    colour = ramp_colour(STRAWBERRY_RAMP, ripe_map)
    seeds, pits = _seeds(patch, slim)
    colour = mix(colour, (214, 186, 96) if ripeness.level > 0.5 else (150, 150, 70), 0.9 * seeds)
    body = Surface(alpha=cover(patch, q), colour=colour, height=width * dome(q) - 0.05 * pits, gloss=0.6)
    green = jitter(rng, (84, 140, 52))
    parts = [body, capsule(patch, (0.0, -0.86), (rng.uniform(-0.2, 0.2), -1.25), (0.035, 0.045), green)]
    parts += [
        leaf(
            patch,
            (0.0, -0.86),
            degrees=degrees,
            length=rng.uniform(0.42, 0.60),
            breadth=0.22,
            colour=jitter(rng, green, 5),
        )
        for degrees in np.linspace(-125, 125, 7) + rng.normal(0, 8, 7)
    ]
    return parts


def _seeds(patch: Patch, slim: float) -> tuple[Array, Array]:
    """Return the seeds and the pits around them, in staggered rows that crowd towards the sides as on a round body."""
    row = (patch.y + 1.0) / 0.19
    # The arcsine unrolls the body, so that seeds at the sides stand closer.
    column = np.arcsin(np.clip(patch.x / slim, -1.0, 1.0)) / 0.32 + 0.5 * (np.floor(row) % 2)
    u, v = (column % 1.0) - 0.5, (row % 1.0) - 0.5
    distance = np.hypot(u * 1.5, v)
    return np.clip(1.0 - (distance / 0.17) ** 2, 0.0, 1.0), np.exp(-((distance / 0.28) ** 2))


def _banana(rng: np.random.Generator, patch: Patch, ripeness: Ripeness) -> list[Surface]:
    parts: list[Surface] = []
    fingers = int(rng.choice([1, 1, 2, 3]))
    for finger in range(fingers):
        turned = patch.turned(14.0 * (finger - (fingers - 1) / 2.0), about=(-0.9, -0.35))
        parts += _finger(rng, turned, ripeness)
    return parts


_ARC_RADIUS = 1.25
_ARC_HALF = 0.80  # radians from the middle to either end
_PLACES = np.linspace(-1.3, 1.1, 97)
_WIDTHS = _profile(
    _PLACES,
    [-1.3, -1.24, -1.06, -0.90, -0.6, 0.0, 0.6, 0.88, 1.0, 1.06, 1.1],
    [0.0, 0.27, 0.25, 0.42, 0.86, 1.0, 0.88, 0.52, 0.26, 0.22, 0.0],
)


def _finger(rng: np.random.Generator, patch: Patch, ripeness: Ripeness) -> list[Surface]:
    """Return one banana: a tube around an arc, ``s`` along it (-1 stem, 1 tip), ``d`` across it (-1..1)."""
    centre_y = 0.42 - _ARC_RADIUS
    rho = np.hypot(patch.x, patch.y - centre_y)
    s = np.arctan2(patch.x, patch.y - centre_y) / _ARC_HALF
    width = np.maximum(rng.uniform(0.23, 0.28) * np.interp(s, _PLACES, _WIDTHS, left=0.0, right=0.0), 1e-3)
    d = (rho - _ARC_RADIUS) / width
    q = np.where(width > 0.012, np.minimum(np.abs(d), 9.0), 9.0)  # capped, as a cliff would read as an edge
    # Bananas are five-sided: flat faces that meet in a ridge, softened.
    ridge = rng.uniform(-0.35, 0.1)
    faces = 1.0 - 0.62 * np.abs(d - ridge)
    height = width * (0.55 * dome(q) + 0.45 * np.clip(faces, 0.0, 1.0))
    colour = _banana_skin(rng, patch, s, d, ripeness)
    colour = mix(colour, (62, 48, 26), smoothstep(0.97, 1.03, s) + smoothstep(1.20, 1.25, -s))
    crease = np.exp(-(((d - ridge) / 0.05) ** 2)) * smoothstep(1.0, 0.7, np.abs(s))
    colour = mix(colour, (90, 80, 30), 0.18 * crease)
    return [Surface(alpha=cover(patch, q), colour=colour, height=height, gloss=0.16)]


def _banana_skin(rng: np.random.Generator, patch: Patch, s: Array, d: Array, ripeness: Ripeness) -> Array:
    clouds = value_noise(rng, patch.shape, (5, 5)) - 0.5
    green_ends = rng.uniform(0.0, 0.22) * smoothstep(0.62, 1.05, np.abs(s))
    ripe_map = ripeness.level + ripeness.spread * clouds - green_ends + 0.04 * d
    colour = ramp_colour(BANANA_RAMP, ripe_map)
    # Sugar flecks come with ripeness; a bruise may be on any.
    fine = value_noise(rng, patch.shape, (34, 34), octaves=2)
    threshold = 1.02 - 0.36 * float(smoothstep(0.72, 1.0, np.float32(ripeness.level)))
    colour = mix(colour, (104, 62, 26), 0.85 * smoothstep(threshold, threshold + 0.07, fine))
    if rng.random() < 0.25:
        colour = mix(colour, (84, 62, 34), 0.7 * _spots(rng, patch, 3, (0.03, 0.07), x_scale=2.0))
    return colour


_BUILDERS: dict[FruitKind, Callable[[np.random.Generator, Patch, Ripeness], list[Surface]]] = {
    FruitKind.APPLE: _apple,
    FruitKind.AVOCADO: _avocado,
    FruitKind.BANANA: _banana,
    FruitKind.MANGO: _mango,
    FruitKind.STRAWBERRY: _strawberry,
    FruitKind.TOMATO: _tomato,
}
