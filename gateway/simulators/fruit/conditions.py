"""Under what conditions a picture is taken: all spans of chance in one place, and the three sets in use."""

from dataclasses import dataclass

from gateway.simulators.fruit.texture import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Spans are (least, most), drawn evenly; lengths are fractions of the picture's shorter side."""

    backgrounds: tuple[str, ...]
    fruits_max: int = 1
    fruit_radius: Span = (0.24, 0.42)
    off_centre: float = 0.06
    tilt_degrees: float = 35.0
    occlusion_chance: float = 0.0  # that a leaf or a slat covers a part
    ripeness_spread: float = 0.10  # unevenness within one fruit, in units of the ramp
    unripe_span: Span = (0.0, 0.36)
    ripe_span: Span = (0.68, 1.0)
    exposure_stops: Span = (-0.2, 0.2)
    warmth: Span = (-0.05, 0.05)  # red up and blue down by this share, or the reverse
    saturation: Span = (0.95, 1.05)
    blur: Span = (0.0, 0.001)
    motion_blur_chance: float = 0.0
    noise: Span = (0.0, 0.01)  # standard deviation, of full scale
    vignette: Span = (0.0, 0.2)


# What a cheap camera meets: the training set.
FIELD = Conditions(
    backgrounds=("table", "crate", "sky", "clutter", "plain", "foliage"),
    fruits_max=3,
    fruit_radius=(0.20, 0.48),
    off_centre=0.16,
    tilt_degrees=70.0,
    unripe_span=(0.0, 0.40),
    ripe_span=(0.64, 1.0),
    occlusion_chance=0.35,
    ripeness_spread=0.20,
    exposure_stops=(-0.9, 0.55),
    warmth=(-0.22, 0.26),
    saturation=(0.65, 1.2),
    blur=(0.0, 0.010),
    motion_blur_chance=0.2,
    noise=(0.0, 0.045),
    vignette=(0.0, 0.5),
)

# Backgrounds that training never shows and light at the rim of its spans: the committed unseen pictures.
HELD_OUT = Conditions(
    backgrounds=("cloth", "conveyor", "table", "foliage"),
    fruits_max=3,
    fruit_radius=(0.20, 0.46),
    off_centre=0.15,
    tilt_degrees=80.0,
    unripe_span=(0.0, 0.40),
    ripe_span=(0.64, 1.0),
    occlusion_chance=0.4,
    ripeness_spread=0.20,
    exposure_stops=(-1.0, 0.6),
    warmth=(-0.24, 0.30),
    saturation=(0.6, 1.2),
    blur=(0.002, 0.011),
    motion_blur_chance=0.25,
    noise=(0.01, 0.05),
    vignette=(0.1, 0.6),
)

# Clear and friendly: the examples and the demo's simulated cameras.
STUDIO = Conditions(
    backgrounds=("table", "cloth", "crate", "sky"),
    fruits_max=1,
    fruit_radius=(0.34, 0.40),
    off_centre=0.03,
    tilt_degrees=18.0,
    ripeness_spread=0.14,
    unripe_span=(0.05, 0.26),
    ripe_span=(0.76, 0.94),
)
