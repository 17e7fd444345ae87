"""Puts fruit before a background and takes the picture."""

import io

import numpy as np
from PIL import Image, ImageFilter

from gateway.simulators.fruit.backgrounds import paint_background
from gateway.simulators.fruit.camera import photograph
from gateway.simulators.fruit.conditions import FIELD, STUDIO, Conditions
from gateway.simulators.fruit.species import AUTUMN_LEAF, LEAF, FruitKind, Ripeness, build
from gateway.simulators.fruit.surface import Light, Surface, leaf, lit, make_patch
from gateway.simulators.fruit.texture import Array, jitter, to_linear, uniform


def draw_fruit(
    rng: np.random.Generator,
    *,
    kind: FruitKind,
    ripe: bool,
    size: tuple[int, int] = (640, 480),
    conditions: Conditions = FIELD,
) -> Image.Image:
    """Return an RGB picture of ``size`` (width, height) with one or more fruits of one kind, all ripe or all unripe.

    The fruit is near the middle, so that Custom Vision's centre crop keeps it. Deterministic in ``rng``.
    """
    background = paint_background(rng, str(rng.choice(conditions.backgrounds)), size)
    canvas = to_linear(background.picture)
    light = _light(rng)
    level = uniform(rng, conditions.ripe_span if ripe else conditions.unripe_span)
    for x, y, radius in _places(rng, size, conditions):
        patch = make_patch(radius, _tilt(rng, kind, conditions))
        ripeness = Ripeness(level=level + rng.uniform(-0.03, 0.03), spread=conditions.ripeness_spread)
        bodies = build(rng, kind, patch, ripeness)
        if background.has_ground:
            _cast_shadow(canvas, bodies, (x, y), radius, light)
        for body in bodies:
            _paste(canvas, lit(body, patch, light), body.alpha, (x, y))
    if rng.random() < conditions.occlusion_chance:
        _occlude(rng, canvas, light)
    return photograph(rng, canvas, conditions)


def jpeg_bytes(image: Image.Image, *, quality: int = 85) -> bytes:
    """Return the picture as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def fruit_jpeg(
    seed: int, *, kind: FruitKind, ripe: bool, size: tuple[int, int] = (1024, 768), quality: int = 85
) -> bytes:
    """Return a clear JPEG for demonstrations and load: another picture for every seed."""
    rng = np.random.default_rng([seed, 0xF2])
    return jpeg_bytes(draw_fruit(rng, kind=kind, ripe=ripe, size=size, conditions=STUDIO), quality=quality)


def _light(rng: np.random.Generator) -> Light:
    """Return light from above and in front, from the left or the right."""
    across, height = rng.uniform(-0.7, 0.7), rng.uniform(0.3, 0.8)
    vector = np.array([across, -height, 0.75])
    vector /= np.linalg.norm(vector)
    return Light(x=float(vector[0]), y=float(vector[1]), z=float(vector[2]), ambient=rng.uniform(0.3, 0.6))


def _tilt(rng: np.random.Generator, kind: FruitKind, conditions: Conditions) -> float:
    tilt = rng.uniform(-1.0, 1.0) * conditions.tilt_degrees
    # Mangoes and bananas lie; the others stand or hang.
    if kind is FruitKind.MANGO:
        tilt += float(rng.choice([-60.0, 60.0]))
    elif kind is FruitKind.BANANA:
        tilt += float(rng.choice([-20.0, 20.0]))
    return float(tilt)


def _places(rng: np.random.Generator, size: tuple[int, int], conditions: Conditions) -> list[tuple[int, int, float]]:
    """Return where each fruit goes (x, y) and its radius, in pixels: the first near the middle and largest."""
    side = min(size)
    radius = side * uniform(rng, conditions.fruit_radius)
    slip = side * conditions.off_centre
    x, y = size[0] / 2 + rng.uniform(-slip, slip), size[1] / 2 + rng.uniform(-slip, slip) * 0.8 + 0.04 * side
    places = [(int(x), int(y), radius)]
    for _ in range(int(rng.integers(1, conditions.fruits_max + 1)) - 1):
        angle, share = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 0.95)
        away = radius * rng.uniform(1.2, 1.8)
        places.append((int(x + away * np.cos(angle)), int(y + 0.6 * away * np.sin(angle)), radius * share))
    # Painted from the top down, as what stands lower in a picture is nearer.
    return sorted(places, key=lambda place: place[1])


def _window(canvas: Array, patch_side: int, centre: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the part of the canvas that a patch around ``centre`` covers, and the same part of the patch."""
    height, width = canvas.shape[:2]
    left, top = centre[0] - patch_side // 2, centre[1] - patch_side // 2
    x0, x1 = min(max(left, 0), width), max(min(left + patch_side, width), 0)
    y0, y1 = min(max(top, 0), height), max(min(top + patch_side, height), 0)
    x1, y1 = max(x0, x1), max(y0, y1)
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def _paste(canvas: Array, colours: Array, alpha: Array, centre: tuple[int, int]) -> None:
    target, source = _window(canvas, alpha.shape[0], centre)
    part = alpha[source][..., None]
    canvas[target] += (colours[source] - canvas[target]) * part


def _cast_shadow(canvas: Array, bodies: list[Surface], centre: tuple[int, int], radius: float, light: Light) -> None:
    """Darken the ground beside the fruit: its outline, moved away from the light and blurred."""
    outline = np.max([body.alpha for body in bodies], axis=0)
    mask = Image.fromarray((outline * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius * 0.09))
    shade = np.asarray(mask, np.float32) / 255.0 * 0.6
    place = (int(centre[0] - light.x * radius * 0.3), int(centre[1] + radius * 0.12))
    _paste(canvas, np.zeros((*shade.shape, 3), np.float32), shade, place)


def _occlude(rng: np.random.Generator, canvas: Array, light: Light) -> None:
    """Lay a leaf or a slat over the picture, beside its middle: at most about a third of the fruit is hidden."""
    height, width = canvas.shape[:2]
    side = min(height, width)
    if rng.random() < 0.65:
        patch = make_patch(side * rng.uniform(0.2, 0.3), rng.uniform(0, 360), reach=1.2)
        angle = rng.uniform(0, 2 * np.pi)
        away = side * rng.uniform(0.22, 0.40)
        centre = (int(width / 2 + away * np.cos(angle)), int(height / 2 + away * np.sin(angle)))
        colour = jitter(rng, LEAF if rng.random() < 0.7 else AUTUMN_LEAF, 20)
        body = leaf(patch, (0.0, 0.9), degrees=0.0, length=1.8, breadth=rng.uniform(0.2, 0.32), colour=colour)
        _paste(canvas, lit(body, patch, light), body.alpha, centre)
        return
    thick = int(side * rng.uniform(0.04, 0.10))
    top = int(height * (rng.uniform(0.18, 0.32) if rng.random() < 0.5 else rng.uniform(0.66, 0.80)))
    wood = np.asarray(jitter(rng, (150, 112, 74), 25), np.float32) / 255.0
    rows = np.linspace(0.8, 1.1, thick, dtype=np.float32)[:, None, None]
    canvas[top : top + thick] = to_linear(wood) * rows
    canvas[top + thick : top + thick + max(2, thick // 4)] *= 0.6
