"""Small numeric tools of the drawings: smooth noise, colour ramps. Colours are sRGB 0..1 unless named linear."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.floating[Any]]
Rgb = tuple[int, int, int]
Span = tuple[float, float]

# sRGB's exact curve has a linear toe; 2.2 is close enough for light on fruit, and one power call.
GAMMA = 2.2


def uniform(rng: np.random.Generator, span: Span) -> float:
    """Return one number of the span."""
    return float(rng.uniform(span[0], span[1]))


def smoothstep(low: float, high: float, values: Array | np.float32) -> Array:
    """Return 0 below ``low``, 1 above ``high``, and the cubic between."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def value_noise(
    rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float], *, octaves: int = 3
) -> Array:
    """Return smooth noise of ``shape`` (rows, columns), mean about 0.5, mostly within 0..1.

    ``cells`` is how many bumps fit down and across; each octave doubles them at half the strength.
    """
    total = np.zeros(shape, np.float32)
    weight, weights = 1.0, 0.0
    for octave in range(octaves):
        rows = max(2, min(shape[0], int(cells[0] * 2**octave) + 1))
        columns = max(2, min(shape[1], int(cells[1] * 2**octave) + 1))
        grid = Image.fromarray(rng.random((rows, columns), dtype=np.float32))
        layer = grid.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
        total += weight * np.asarray(layer, np.float32)
        weights += weight
        weight *= 0.5
    return total / weights


def ramp_colour(stops: Sequence[tuple[float, Rgb]], position: Array) -> Array:
    """Return sRGB colours (…, 3), 0..1, of a colour ramp at each position."""
    places = [place for place, _ in stops]
    channels = [np.interp(position, places, [colour[c] / 255.0 for _, colour in stops]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def mix(first: Array, second: Array | Rgb, amount: Array) -> Array:
    """Return ``first`` with ``second`` (a picture or one 0..255 colour) laid over it by ``amount`` 0..1."""
    other = np.asarray(second, np.float32) / 255.0 if isinstance(second, tuple) else second
    return first + (other - first) * amount[..., None]


def jitter(rng: np.random.Generator, colour: Rgb, spread: float = 12.0) -> Rgb:
    """Return the colour moved a little, as no two leaves or planks are alike."""
    # Mostly lighter or darker, less so in hue: planks are not pink.
    moved = np.clip(np.asarray(colour, float) + rng.normal(0.0, spread) + rng.normal(0.0, 0.4 * spread, 3), 0, 255)
    return int(moved[0]), int(moved[1]), int(moved[2])


def to_linear(srgb: Array) -> Array:
    """Return linear light of sRGB values."""
    return np.power(np.clip(srgb, 0.0, 1.0), GAMMA)


def to_srgb(linear: Array) -> Array:
    """Return sRGB values of linear light, clipped as a sensor clips."""
    return np.power(np.clip(linear, 0.0, 1.0), 1.0 / GAMMA)
