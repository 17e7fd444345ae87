"""Bodies as height fields: outline, colour and bumps go in, lit pixels come out.

Coordinates are the fruit's own: x to the right, y down, the stem near (0, -1), 1 is the fruit's radius.
"""

from dataclasses import dataclass

import numpy as np

from gateway.simulators.fruit.texture import Array, Rgb, to_linear


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A square of pixels in a fruit's own coordinates. ``step`` is one pixel's length in them."""

    x: Array
    y: Array
    step: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, in pixels."""
        return int(self.x.shape[0]), int(self.x.shape[1])

    def turned(self, degrees: float, about: tuple[float, float] = (0.0, 0.0)) -> "Patch":
        """Return the patch as seen by a body that is turned clockwise about a point."""
        angle = np.deg2rad(degrees)
        dx, dy = self.x - about[0], self.y - about[1]
        x = dx * np.cos(angle) + dy * np.sin(angle) + about[0]
        y = -dx * np.sin(angle) + dy * np.cos(angle) + about[1]
        return Patch(x=x.astype(np.float32), y=y.astype(np.float32), step=self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """One opaque body: cover 0..1, sRGB colour 0..1, height in radii, gloss 0..1. All share the patch's shape."""

    alpha: Array
    colour: Array
    height: Array
    gloss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """Where the light comes from (a unit vector towards it) and how much of it comes from everywhere."""

    x: float
    y: float
    z: float
    ambient: float


def make_patch(radius_px: float, turn_degrees: float, *, reach: float = 1.4) -> Patch:
    """Return a patch that holds a fruit of ``radius_px`` with stems and leaves up to ``reach`` radii."""
    half = int(np.ceil(radius_px * reach))
    axis = np.arange(-half, half + 1, dtype=np.float32) / np.float32(radius_px)
    x, y = np.meshgrid(axis, axis)
    return Patch(x=x, y=y, step=1.0 / radius_px).turned(turn_degrees)


def cover(patch: Patch, q: Array) -> Array:
    """Return anti-aliased cover of the body ``q < 1``: a pixel on the edge counts by its distance to it."""
    down, across = np.gradient(q, patch.step)
    slope = np.maximum(np.hypot(down, across), 1e-3)
    covered: Array = np.clip((1.0 - q) / (slope * patch.step) + 0.5, 0.0, 1.0)
    return covered


def dome(q: Array) -> Array:
    """Return the height of a rounded body whose outline is ``q = 1``."""
    return np.sqrt(np.clip(1.0 - q * q, 0.0, 1.0))


def lit(surface: Surface, patch: Patch, light: Light) -> Array:
    """Return linear colours of the surface under the light (Lambert, Blinn-Phong's highlight, a darker rim)."""
    # Slopes come from pixel differences, in picture axes, whatever way the body is turned.
    down, across = np.gradient(surface.height, patch.step)
    length = np.sqrt(across * across + down * down + 1.0)
    diffuse = np.clip((-across * light.x - down * light.y + light.z) / length, 0.0, 1.0)
    half = np.array([light.x, light.y, light.z + 1.0])
    half /= np.linalg.norm(half)
    facing = np.clip((-across * half[0] - down * half[1] + half[2]) / length, 0.0, 1.0)
    rim = 0.75 + 0.25 / length
    shade = (light.ambient + (1.0 - light.ambient) * diffuse) * rim
    shine = surface.gloss * (0.75 * facing**60 + 0.12 * facing**8)
    colours: Array = to_linear(surface.colour) * shade[..., None] + shine[..., None]
    return colours


def capsule(
    patch: Patch, start: tuple[float, float], end: tuple[float, float], widths: tuple[float, float], colour: Rgb
) -> Surface:
    """Return a tapered stick with half-widths ``widths`` at its ends: stems."""
    ax, ay = end[0] - start[0], end[1] - start[1]
    along = np.clip(((patch.x - start[0]) * ax + (patch.y - start[1]) * ay) / (ax * ax + ay * ay), 0.0, 1.0)
    away = np.hypot(patch.x - start[0] - along * ax, patch.y - start[1] - along * ay)
    q = away / (widths[0] + (widths[1] - widths[0]) * along)
    return Surface(alpha=cover(patch, q), colour=_flat(q, colour), height=dome(q) * widths[0], gloss=0.05)


def leaf(
    patch: Patch, base: tuple[float, float], *, degrees: float, length: float, breadth: float, colour: Rgb
) -> Surface:
    """Return a pointed leaf with a pale midrib, growing from ``base`` towards ``degrees`` (0: up, clockwise)."""
    angle = np.deg2rad(degrees)
    dx, dy = patch.x - base[0], patch.y - base[1]
    along = (dx * np.sin(angle) - dy * np.cos(angle)) / length
    across = (dx * np.cos(angle) + dy * np.sin(angle)) / (breadth * length)
    inside = np.clip(along, 0.0, 1.0)
    # Broad below the middle and pointed at the end; never zero, so that the division is safe.
    half_width = np.maximum(inside**0.55 * (1.0 - inside) * 1.75, 1e-3)
    # Capped: a cliff in q beside the leaf would read as an edge.
    q = np.where((along > 0.0) & (along < 1.0), np.minimum(np.abs(across) / half_width, 9.0), 9.0)
    rib = np.exp(-((across / 0.09) ** 2))
    veins = 0.5 + 0.5 * np.sin((inside * 9.0 - np.abs(across)) * 2.0 * np.pi)
    tone = 1.0 + 0.35 * rib + 0.10 * (veins - 0.5)
    painted = np.clip(_flat(q, colour) * tone[..., None], 0.0, 1.0)
    height = breadth * length * (0.35 * np.abs(across) - 0.5 * (inside - 0.5) ** 2)
    return Surface(alpha=cover(patch, q), colour=painted, height=height, gloss=0.12)


def _flat(like: Array, colour: Rgb) -> Array:
    return np.broadcast_to(np.asarray(colour, np.float32) / 255.0, (*like.shape, 3))
