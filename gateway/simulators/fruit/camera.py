"""What the light and a cheap camera do to a scene: exposure, white balance, blur, noise, vignette."""

import numpy as np
from PIL import Image, ImageFilter

from gateway.simulators.fruit.conditions import Conditions
from gateway.simulators.fruit.texture import Array, to_srgb, uniform


def photograph(rng: np.random.Generator, linear: Array, conditions: Conditions) -> Image.Image:
    """Return the RGB picture that a camera makes of linear light (rows, columns, 3)."""
    light = linear * _white_balance(rng, conditions) * 2.0 ** uniform(rng, conditions.exposure_stops)
    light *= _vignette(linear.shape[0], linear.shape[1], uniform(rng, conditions.vignette))[..., None]
    srgb = _saturate(to_srgb(light), uniform(rng, conditions.saturation))
    image = Image.fromarray((np.clip(srgb, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))
    return _noise(rng, _blur(rng, image, conditions), uniform(rng, conditions.noise))


def _white_balance(rng: np.random.Generator, conditions: Conditions) -> Array:
    warmth = uniform(rng, conditions.warmth)
    return np.array([1.0 + warmth, 1.0, 1.0 - warmth], np.float32)


def _vignette(height: int, width: int, strength: float) -> Array:
    y, x = np.ogrid[-1.0 : 1.0 : complex(0, height), -1.0 : 1.0 : complex(0, width)]
    falloff: Array = (1.0 - strength * 0.5 * (x * x + y * y)).astype(np.float32)
    return falloff


def _saturate(srgb: Array, amount: float) -> Array:
    grey = srgb @ np.array([0.299, 0.587, 0.114], np.float32)
    return grey[..., None] + (srgb - grey[..., None]) * np.float32(amount)


def _blur(rng: np.random.Generator, image: Image.Image, conditions: Conditions) -> Image.Image:
    side = min(image.size)
    image = image.filter(ImageFilter.GaussianBlur(side * uniform(rng, conditions.blur)))
    if rng.random() < conditions.motion_blur_chance:
        # Wide and flat, or high and narrow: a shake has a direction.
        reach = side * rng.uniform(0.003, 0.015)
        image = image.filter(ImageFilter.BoxBlur((reach, 0.0) if rng.random() < 0.5 else (0.0, reach)))
    return image


def _noise(rng: np.random.Generator, image: Image.Image, sigma: float) -> Image.Image:
    if sigma <= 0.0:
        return image
    pixels = np.asarray(image, np.float32)
    grain = rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(sigma * 255.0)
    return Image.fromarray(np.clip(pixels + grain + 0.5, 0, 255).astype(np.uint8))
