"""Recognising pictures by content, without decoding."""

import struct
from pathlib import Path

import pytest
from PIL import Image

from gateway.errors import ImageDamaged, NotAnImage
from gateway.vision.image_exif import orientation
from gateway.vision.image_header import read_header
from tests.unit.vision.models import picture

PICTURES = Path(__file__).resolve().parents[2] / "data" / "vision" / "pictures"


@pytest.mark.parametrize("path", sorted(PICTURES.iterdir()), ids=lambda path: path.name)
def test_size_and_format_are_those_of_the_decoder(path: Path) -> None:
    header = read_header(path.read_bytes())
    with Image.open(path) as decoded:
        assert (header.width, header.height) == decoded.size
        assert header.format == (decoded.format or "").lower()


def exif(value: int, order: str = "<", kind: int = 3) -> bytes:
    start = b"II*\x00" if order == "<" else b"MM\x00*"
    stored = {1: "BBBB", 3: "HH", 4: "I"}[kind]
    values = (value, *(0,) * (len(stored) - 1))
    entry = struct.pack(order + "HHI", 0x0112, kind, 1) + struct.pack(order + stored, *values)
    return start + struct.pack(order + "IH", 8, 1) + entry + b"\x00" * 4


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [1, 3, 4])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_is_read_in_both_byte_orders(value: int, order: str, kind: int) -> None:
    assert orientation(b"Exif\x00\x00" + exif(value, order, kind)) == value


@pytest.mark.parametrize(
    "block", [b"", b"Exif\x00\x00", exif(0), exif(9), exif(6)[:15], b"II*\x00\xff\xff\xff\xff", b"XX*\x00" + bytes(40)]
)
def test_absent_or_damaged_exif_means_upright(block: bytes) -> None:
    assert orientation(block) == 1


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"II*\x00" + bytes(20), "TIFF"),
        (b"\x00\x00\x00\x20ftypheic" + bytes(20), "HEIC"),
        (b"<svg xmlns=", "SVG"),
        (b'{"image": 1}', "JSON"),
        (b"/9j/4AAQSkZJRg", "base64"),
        (b"data:image/png;base64,", "data: URL"),
        (b"hello there", "68 65 6c 6c 6f"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, named: str) -> None:
    with pytest.raises(NotAnImage, match=named):
        read_header(data)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "GIF", "WEBP"])
def test_every_cut_inside_the_header_is_refused(file_format: str) -> None:
    data = picture("red", file_format=file_format)
    for length in range(12, min(len(data), 200)):
        try:
            header = read_header(data[:length])
        except (ImageDamaged, NotAnImage):
            continue
        assert (header.width, header.height) == (40, 30)


def test_metadata_does_not_reach_the_decoder() -> None:
    tags = Image.Exif()
    tags[0x010E] = "a secret place"
    tags[0x0112] = 6
    for file_format in ("JPEG", "PNG"):
        data = picture("red", file_format=file_format, exif=tags)
        assert b"a secret place" in data

        header = read_header(data)

        assert header.orientation == 6
        assert b"a secret place" not in header.essence


def test_gif_comments_do_not_reach_the_decoder() -> None:
    data = picture("red", file_format="GIF", comment=b"a secret place")
    assert b"a secret place" in data
    assert b"a secret place" not in read_header(data).essence


def test_gif_frame_that_sticks_out_of_its_screen_counts() -> None:
    data = bytearray(picture("red", file_format="GIF"))
    at = data.index(b"\x2c", 13)
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 50_000)
    header = read_header(bytes(data))
    assert (header.width, header.height) == (60_000, 50_000)


def test_zero_pixels_are_refused() -> None:
    data = bytearray(picture("red", file_format="BMP"))
    data[18:22] = bytes(4)
    with pytest.raises(ImageDamaged, match="0 x 30"):
        read_header(bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff" + b"\x00" * 8_000_000,
        b"\xff\xd8" + b"\xff\xe1\x00\x02" * 2_000_000,
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 9, 9, 8, 2, 0, 0, 0, 0)
        + b"\x00\x00\x00\x00tEXt\x00\x00\x00\x00" * 600_000,
        b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\x01a" * 4_000_000,
    ],
    ids=["jpeg junk", "jpeg segments", "png chunks", "gif comments"],
)
def test_endless_headers_are_given_up(data: bytes) -> None:
    with pytest.raises(ImageDamaged):
        read_header(data)
