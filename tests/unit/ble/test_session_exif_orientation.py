"""A camera's orientation becomes an Exif segment; the picture's data stays as it is."""

import io

import pytest
from PIL import Image

from adapters.ble.exif_orientation import oriented

ORIENTATION_TAG = 0x0112


def picture(**options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 8), "red").save(out, "JPEG", **options)
    return out.getvalue()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_pillow_reads_the_orientation_that_was_written(orientation: int) -> None:
    with Image.open(io.BytesIO(oriented(picture(), orientation))) as image:
        assert image.getexif()[ORIENTATION_TAG] == orientation


def test_compressed_data_is_untouched() -> None:
    before = picture()
    assert oriented(before, 6).endswith(before[2:])


def test_camera_that_wrote_exif_itself_is_believed() -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 3
    own = picture(exif=exif)
    assert oriented(own, 6) == own


@pytest.mark.parametrize("orientation", [1, 0, 9, -1])
def test_orientation_that_says_nothing_changes_nothing(orientation: int) -> None:
    before = picture()
    assert oriented(before, orientation) == before


@pytest.mark.parametrize("payload", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe1\x00", b"BM....", b"\xff\xd8" * 50])
def test_any_bytes_are_taken(payload: bytes) -> None:
    assert oriented(payload, 6).endswith(payload[2:])
