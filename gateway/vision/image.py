"""From a picture's bytes to the model's input tensor. Pure apart from Pillow and NumPy.

Owns the order of operations, which is the whole point: probabilities equal the exported container's only if every
step is the same and in the same order.

Invariants: nothing is decoded before its size is checked; Pillow sees only the five formats and only the essence of a
picture (image_header.py); a picture that can't be used raises a Rejected, never another exception, and no warning.
"""

import math
import struct
import zlib
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt

# The five plugins are registered by import, so that Pillow never loads the other forty to look for a format.
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from gateway.errors import ImageDamaged, NotAnImage, TooManyPixels
from gateway.vision.image_header import ImageHeader, read_header
from gateway.vision.preprocessing import ColourOrder, Preprocessing, Resize

Tensor = npt.NDArray[Any]

__all__ = [
    "MEMORY_BYTES_FIXED",
    "MEMORY_BYTES_PER_PIXEL",
    "PIXELS_CEILING",
    "check_pixels",
    "decode",
    "preprocess",
    "read_header",
    "weighed_pixels",
]

_PLUGINS: Final = (BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)

# Peak bytes for each weighed pixel of a picture while it is decoded, turned upright and resized, as measured by
# tests/unit/vision/test_memory.py in fresh processes. Pillow keeps RGB, RGBA and CMYK at 4 bytes a pixel, and turning a
# picture upright, or premultiplying its alpha before it is resized, holds it twice.
MEMORY_BYTES_PER_PIXEL: Final = 8

# Pixels that need more than that weigh more. Of a progressive JPEG libjpeg holds all coefficients (2 bytes for each of
# up to 4 components) beside the picture; of a WebP libwebp holds two canvases (8 bytes), beside the bytes that Pillow
# copies out of it (4) and the picture (4).
_WEIGHT_PROGRESSIVE: Final = 1.5
_WEIGHT_WEBP: Final = 2.0

# Beside the pixels, for each picture at work: its encoded bytes once more without metadata, the resized picture (at
# most _ASPECT_EXACT_MAX x 224 x 224 x 4 bytes, for an instant twice), the tensor and the decoder's tables.
MEMORY_BYTES_FIXED: Final = 16 * 1024 * 1024

# Where Pillow would begin to warn of a decompression bomb (Image.MAX_IMAGE_PIXELS): no cap of ours may be above.
PIXELS_CEILING: Final = 89_478_485

# A picture 1 pixel high and 20 million wide would become 224 x 4.5 thousand million before it is cropped. Beyond this
# aspect only the part that survives the crop is computed: equal to within one level of 255, and no camera gets there.
_ASPECT_EXACT_MAX: Final = 32

_BILINEAR: Final = Image.Resampling.BILINEAR

# What Pillow 9.4 to 13 raises for bytes that it can't decode.
_DECODER_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def weighed_pixels(header: ImageHeader) -> int:
    """Return the picture's share of the pixel budget: its pixels, weighed by what their format needs to be decoded."""
    if header.format == "webp":
        return math.ceil(header.pixels * _WEIGHT_WEBP)
    return math.ceil(header.pixels * _WEIGHT_PROGRESSIVE) if header.progressive else header.pixels


def check_pixels(header: ImageHeader, *, pixels_max: int) -> None:
    """Raise TooManyPixels if the picture can't be decoded within ``pixels_max``. Decodes nothing."""
    size = f"{header.width} x {header.height} = {header.pixels:,} pixels"
    if header.pixels > min(pixels_max, PIXELS_CEILING):
        raise TooManyPixels(f"the picture has {size}, at most {min(pixels_max, PIXELS_CEILING):,} are accepted")
    weighed = weighed_pixels(header)
    if weighed > pixels_max:
        kind = "WebP" if header.format == "webp" else "progressive JPEG"
        raise TooManyPixels(
            f"the picture has {size}, which as a {kind} need the memory of {weighed:,}; {pixels_max:,} are accepted",
            hint="send a baseline JPEG or a smaller picture, or raise limits.memory_budget_mb",
        )


def decode(header: ImageHeader) -> Image.Image:
    """Return the decoded picture, the right way up, in the mode its file has. Check its pixels first.

    Raises ImageDamaged, saying what is wrong.
    """
    try:
        image = _open_and_load(header)
        if image.mode.startswith("I;16"):  # what newer Pillows open as this, older ones open as I
            image = image.convert("I")
    except UnidentifiedImageError as error:
        # The text of Pillow's error holds nothing but the address of our buffer.
        raise ImageDamaged(f"the {header.format} header is broken") from error
    except _DECODER_ERRORS as error:
        raise ImageDamaged(f"the {header.format} picture can't be decoded: {error}") from error
    turn = _UPRIGHT.get(header.orientation)
    return image if turn is None else image.transpose(turn)


def _open_and_load(header: ImageHeader) -> Image.Image:
    if header.format == "webp" and not features.check("webp"):
        raise NotAnImage("the payload is a WebP and this gateway's Pillow was built without WebP")
    image = Image.open(BytesIO(header.essence), formats=(header.format.upper(),))
    if image.width * image.height > header.pixels:
        raise ImageDamaged(
            f"the {header.format} header says {header.width} x {header.height}, its content {image.size}"
        )
    # The whole file in one piece: by default Pillow cuts it into 64 KiB and glues them together again.
    image.decodermaxblock = len(header.essence)
    image.load()
    return image


# --- to the tensor ------------------------------------------------------------------------------------


def preprocess(image: Image.Image, spec: Preprocessing) -> Tensor:
    """Return the input tensor, shape (1, height, width, channels) and type of ``spec``. ``image`` is as decode left it.

    The order for ``custom-vision`` (export generation 2.2): resize so that the shorter side is N, crop the centre, and
    only then convert to RGB; float32 0..255 in BGR. For every other model the conversion comes first, since resizing a
    palette picture without it picks nearest pixels.
    """
    if spec.convert_first and image.mode != "I":
        image = _to_channels(image, spec)
    image = _to_size(image, spec)
    image = _to_channels(image, spec)
    pixels = np.asarray(image).reshape(spec.height, spec.width, spec.channels)
    if spec.colour_order is ColourOrder.BGR:
        pixels = pixels[:, :, ::-1]
    return _to_values(pixels, spec)


def _to_channels(image: Image.Image, spec: Preprocessing) -> Image.Image:
    mode = "L" if spec.colour_order is ColourOrder.GREY else "RGB"
    if image.mode == mode:
        return image
    if spec.convert_first and image.mode == "I":
        # Sixteen-bit grey: Pillow would clip at 255. The Custom Vision container does just that, so its preset may.
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    return image.convert(mode)


def _to_size(image: Image.Image, spec: Preprocessing) -> Image.Image:
    target = (spec.width, spec.height)
    if spec.resize is Resize.STRETCH:
        return image.resize(target, _BILINEAR)
    if spec.resize is Resize.LETTERBOX:
        return _letterbox(image, target)
    return _cover_and_crop(image, target)


def _cover_and_crop(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """Resize so that the target is just covered, keeping the aspect, and crop the centre."""
    width, height = target
    covering = _covering_size(image.size, target)
    left, top = (covering[0] - width) // 2, (covering[1] - height) // 2
    if max(covering[0] / width, covering[1] / height) > _ASPECT_EXACT_MAX:
        across, down = image.width / covering[0], image.height / covering[1]
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        return image.resize(target, _BILINEAR, box=box)
    return image.resize(covering, _BILINEAR).crop((left, top, left + width, top + height))


def _covering_size(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    (width, height), (target_width, target_height) = size, target
    if width * target_height >= target_width * height:
        return max(round(width / height * target_height), target_width), target_height
    return target_width, max(round(height / width * target_width), target_height)


def _letterbox(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    """Resize so that all of the picture fits, keeping the aspect, centred on black (as tf.image.resize_with_pad)."""
    scale = min(target[0] / image.width, target[1] / image.height)
    fitting = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    framed = Image.new(image.mode, target)
    framed.paste(image.resize(fitting, _BILINEAR), ((target[0] - fitting[0]) // 2, (target[1] - fitting[1]) // 2))
    return framed


def _to_values(pixels: npt.NDArray[np.uint8], spec: Preprocessing) -> Tensor:
    tensor = np.empty((1, spec.height, spec.width, spec.channels), dtype=spec.dtype)
    if spec.takes_pixels_as_they_are:
        tensor[0] = pixels
        return tensor
    table = spec.value_table()
    for channel in range(spec.channels):
        tensor[0, :, :, channel] = table[channel][pixels[:, :, channel]]
    return tensor
