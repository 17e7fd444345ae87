"""A picture as a few characters of a terminal: each cell is two pixels, the upper half block over its background."""

import io

from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

_UPPER_HALF = "▀"
Rgb = tuple[int, int, int]


def thumbnail(picture: bytes, *, columns: int, rows: int) -> Text:
    """Return ``rows`` lines of ``columns`` cells. ``picture`` is one of our own simulated devices'."""
    with Image.open(io.BytesIO(picture)) as image:
        image.draft("RGB", (columns * 4, rows * 8))  # a JPEG is decoded small: a millisecond
        small = image.convert("RGB").resize((columns, rows * 2), Image.Resampling.BOX)
    data = small.tobytes()
    pixels: list[Rgb] = [(data[n], data[n + 1], data[n + 2]) for n in range(0, len(data), 3)]
    text = Text(no_wrap=True)
    for row in range(rows):
        for column in range(columns):
            above = pixels[2 * row * columns + column]
            below = pixels[(2 * row + 1) * columns + column]
            text.append(_UPPER_HALF, Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        if row < rows - 1:
            text.append("\n")
    return text
