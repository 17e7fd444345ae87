"""Write down how a picture is turned, without touching its pixels. Pure.

A JPEG may say in an Exif segment how it is to be turned; one that has none gets the smallest that says it. The
compressed data stays as it is, bit for bit.
"""

UPRIGHT = 1
SOI = b"\xff\xd8"
EXIF_HEAD = b"Exif\x00\x00"
APP1 = 0xE1
# Segments that may stand between SOI and the frame and hold no Exif: APPn, COM, DQT, DHT, DRI ... up to SOF/SOS.
_SCAN_STARTS = frozenset({0xC0, 0xC1, 0xC2, 0xDA})


def oriented(picture: bytes, orientation: int) -> bytes:
    """Return ``picture`` with Exif ``orientation`` (1 to 8, TIFF 6.0 tag 274); as it is when that says nothing new.

    Untouched: orientation 1 or unknown, what is no JPEG, and a JPEG whose camera wrote an Exif segment itself.
    """
    if orientation == UPRIGHT or not 1 <= orientation <= 8 or not picture.startswith(SOI) or _has_exif(picture):
        return picture
    return SOI + _segment(orientation) + picture[len(SOI) :]


def _segment(orientation: int) -> bytes:
    """Return an APP1 segment with one entry (Exif 2.3, section 4.5): big-endian TIFF, IFD0, Orientation."""
    entry = (0x0112).to_bytes(2, "big") + (3).to_bytes(2, "big") + (1).to_bytes(4, "big")
    entry += orientation.to_bytes(2, "big") + b"\x00\x00"
    tiff = b"MM\x00\x2a" + (8).to_bytes(4, "big") + (1).to_bytes(2, "big") + entry + bytes(4)
    body = EXIF_HEAD + tiff
    return bytes((0xFF, APP1)) + (len(body) + 2).to_bytes(2, "big") + body


def _has_exif(picture: bytes) -> bool:
    at = len(SOI)
    while at + 4 <= len(picture) and picture[at] == 0xFF and picture[at + 1] not in _SCAN_STARTS:
        if picture[at + 1] == APP1 and picture[at + 4 : at + 10] == EXIF_HEAD:
            return True
        at += 2 + int.from_bytes(picture[at + 2 : at + 4], "big")
    return False
