"""Small distinct pictures for tests of the whole path."""

import io

from PIL import Image

from tests.fakes.canary import secret


def small_picture(number: int = 0) -> bytes:
    """Return a distinct little JPEG."""
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), (number % 256, number // 256 % 256, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def picture_with_secrets() -> bytes:
    """Return a JPEG of noise (so that no part of it is common) with EXIF that must never leave the site."""
    image = Image.effect_noise((320, 240), 90).convert("RGB")
    exif = Image.Exif()
    exif[0x010E] = secret("SECRET-DESCRIPTION-OF-THE-BARN")
    exif[0x010F] = secret("SECRET-CAMERA-MAKER")
    exif[0x013B] = "SECRET-ARTIST"
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80, exif=exif, comment=b"SECRET-COMMENT")
    return buffer.getvalue()
