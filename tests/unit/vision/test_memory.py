"""What a picture costs in memory, measured in fresh processes."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gateway import limits
from gateway.vision.image import MEMORY_BYTES_FIXED, MEMORY_BYTES_PER_PIXEL

ROOT = Path(__file__).resolve().parents[3]
SIDE = (3000, 2000)
PIXELS = SIDE[0] * SIDE[1]

# Decodes and prepares the file named by its argument and prints how far the peak of resident memory rose.
MEASURE = """
import json, re, sys
from pathlib import Path
from gateway.errors import Rejected
from gateway.vision.image import check_pixels, decode, preprocess, read_header, weighed_pixels
from gateway.vision.preprocessing import Preprocessing, Resize, custom_vision

def status(key):
    return int(re.search(key + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

def handle(data, pixels_max):
    header = read_header(data)
    check_pixels(header, pixels_max=pixels_max)
    for spec in SPECS:
        preprocess(decode(header), spec)
    return weighed_pixels(header)

SPECS = [custom_vision(224), Preprocessing(width=224, height=224, resize=Resize.LETTERBOX)]
handle(Path(sys.argv[2]).read_bytes(), 10**7)  # a small one first: imports, pools, tables
data = Path(sys.argv[1]).read_bytes()
Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
before, weighed, refused = status("VmRSS"), 0, ""
try:
    weighed = handle(data, int(sys.argv[3]))
except Rejected as error:
    refused = error.reason
print(json.dumps({"grown": status("VmHWM") - before, "weighed": weighed, "refused": refused}))
"""


def measure(path: Path, small: Path, *, pixels_max: int) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), str(small), str(pixels_max)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def scene(mode: str, size: tuple[int, int]) -> Image.Image:
    """A picture with structure that still compresses."""
    across, down = np.meshgrid(np.arange(size[0], dtype=np.uint32), np.arange(size[1], dtype=np.uint32))
    if mode == "I;16":
        return Image.fromarray((across * 7 + down * 11).astype(np.uint16))
    bands = {"L": 1, "P": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    pixels = np.stack([(across // (band + 2) ^ down // (band + 3)) & 255 for band in range(bands)], axis=-1)
    image = Image.fromarray(pixels.astype(np.uint8).squeeze(), {1: "L", 3: "RGB", 4: mode}[bands])
    return image.convert(mode)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


CASES: dict[str, tuple[str, str, dict[str, object]]] = {
    "jpeg upright": ("RGB", "JPEG", {"quality": 80}),
    "jpeg turned": ("RGB", "JPEG", {"quality": 80, "exif": turned()}),
    "jpeg cmyk turned": ("CMYK", "JPEG", {"quality": 60, "subsampling": 0, "exif": turned()}),
    "jpeg progressive 4:4:4": ("RGB", "JPEG", {"quality": 60, "subsampling": 0, "progressive": True, "exif": turned()}),
    "jpeg progressive cmyk": ("CMYK", "JPEG", {"quality": 60, "subsampling": 0, "progressive": True}),
    "png rgb": ("RGB", "PNG", {"compress_level": 1}),
    "png rgba turned": ("RGBA", "PNG", {"compress_level": 1, "exif": turned()}),
    "png 16-bit grey": ("I;16", "PNG", {"compress_level": 1, "exif": turned()}),
    "bmp": ("RGB", "BMP", {}),
    "gif": ("P", "GIF", {"interlace": 1}),
    "webp lossy": ("RGB", "WEBP", {"method": 0, "quality": 50}),
    "webp alpha turned": ("RGBA", "WEBP", {"method": 0, "quality": 50, "exif": turned()}),
    "webp lossless alpha": ("RGBA", "WEBP", {"method": 0, "lossless": True, "quality": 0, "exif": turned()}),
}


@pytest.mark.parametrize("case", CASES)
def test_decoding_stays_within_the_stated_bytes_for_each_weighed_pixel(case: str, tmp_path: Path) -> None:
    mode, file_format, options = CASES[case]
    large, small = tmp_path / "large", tmp_path / "small"
    scene(mode, SIDE).save(large, file_format, **options)
    scene(mode, (64, 48)).save(small, file_format, **options)

    measured = measure(large, small, pixels_max=10**8)

    grown, weighed = measured["grown"], measured["weighed"]
    assert isinstance(grown, int)
    assert isinstance(weighed, int)
    assert measured["refused"] == ""
    assert grown <= weighed * MEMORY_BYTES_PER_PIXEL + 2 * large.stat().st_size + MEMORY_BYTES_FIXED / 2


def test_limits_are_derived_with_the_same_bytes_for_each_pixel() -> None:
    assert limits.DECODED_BYTES_PER_PIXEL >= MEMORY_BYTES_PER_PIXEL


def png_of_one_colour(path: Path, width: int, height: int) -> None:
    """Write an 8-bit RGB PNG without ever holding its pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    pack = zlib.compressobj(1)
    row = bytes(1 + width * 3)
    body = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def test_a_195_megapixel_png_is_refused_within_20_mb(tmp_path: Path) -> None:
    bomb, small = tmp_path / "bomb.png", tmp_path / "small.png"
    png_of_one_colour(bomb, 13_968, 13_968)
    scene("RGB", (64, 48)).save(small)
    assert bomb.stat().st_size < 8 * 1024 * 1024, "it must pass the cap on bytes"

    measured = measure(bomb, small, pixels_max=12_000_000)

    assert measured["refused"] == "too_many_pixels"
    grown = measured["grown"]
    assert isinstance(grown, int)
    assert grown <= 20_000_000
