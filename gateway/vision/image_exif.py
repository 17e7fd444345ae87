"""The one thing we read from EXIF: which way up the picture is. Pure.

Our own reader and not Pillow's, because Pillow's warns through the ``warnings`` module on damaged EXIF, which can't be
silenced safely from several threads, and because nothing else of the metadata (place, owner) is any of our business.
"""

import struct

EXIF_PREFIX = b"Exif\x00\x00"

_ORIENTATION_TAG = 0x0112
_TIFF_FORMATS = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG: writers that differ from the standard's SHORT exist
_ENTRIES_MAX = 512  # a camera writes some forty entries into the first directory


def orientation(exif: bytes) -> int:
    """Return the Orientation (1..8) of an EXIF block with or without its prefix; 1 if it has none or is damaged.

    Source: EXIF 2.32, 4.6.2 (TIFF header) and 4.6.4 A (Orientation).
    """
    tiff = exif.removeprefix(EXIF_PREFIX)
    try:
        found = _find_orientation(tiff)
    except struct.error:  # an offset that points outside: the picture itself may still be fine
        return 1
    return found if 1 <= found <= 8 else 1


def _find_orientation(tiff: bytes) -> int:
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    if directory > len(tiff):  # where 32 bits are all, struct does not even take such an offset: OverflowError
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, directory)
    for index in range(min(count, _ENTRIES_MAX)):
        entry = directory + 2 + 12 * index
        tag, kind, _values = struct.unpack_from(order + "HHI", tiff, entry)
        if tag == _ORIENTATION_TAG and kind in _TIFF_FORMATS:
            (value,) = struct.unpack_from(order + _TIFF_FORMATS[kind], tiff, entry + 8)
            return int(value)
    return 1
