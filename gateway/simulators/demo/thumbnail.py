"""A picture as a few characters of a terminal: each cell is two pixels, the upper half block over its background."""

import io

from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

_UPPER_HALF = "▀"
Rgb = tuple[int, int, int]


def thumbnail(picture: bytes, *, columns: int, rows: int) -> Text:
    """Return ``rows`` lines of ``columns`` cells; of what is no picture (--picture takes any file) just says so."""
    try:
        small = _small(picture, columns, rows)
    except (OSError, ValueError, SyntaxError):  # what Pillow raises for bytes that are none, or are broken
        return Text("no picture" + "\n" * (rows - 1), no_wrap=True)
    return _cells(small, columns, rows)


def _small(picture: bytes, columns: int, rows: int) -> Image.Image:
    with Image.open(io.BytesIO(picture)) as image:
        image.draft("RGB", (columns * 4, rows * 8))  # a JPEG is decoded small: a millisecond
        return image.convert("RGB").resize((columns, rows * 2), Image.Resampling.BOX)


def _cells(small: Image.Image, columns: int, rows: int) -> Text:
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
