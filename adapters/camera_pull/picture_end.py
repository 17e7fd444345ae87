"""Where a picture ends by its own format, whatever the camera says of its length. Pure.

JPEG (ITU-T T.81, annex B) and PNG, which are what cameras send. Others are left to the framing around them.
"""

import re

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
# Fill bytes before a marker are passed over: with \xff+ a run of them would cost its square.
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
# What follows these has no length: TEM, SOI. RST0 to RST7 belong to the scan that they are in.
_BARE_MARKERS = frozenset({0x01, 0xD8})
_EOI = 0xD9


def is_picture(begin: bytes | bytearray) -> bool:
    """Tell whether bytes begin as a picture does. Needs twelve."""
    is_webp = begin[:4] == b"RIFF" and begin[8:12] == b"WEBP"
    # "BM", the size, and two reserved words, which are zero: two letters alone are the begin of many texts.
    is_bmp = begin.startswith(b"BM") and begin[6:10] == bytes(4)
    return begin.startswith((_JPEG, _PNG, b"GIF87a", b"GIF89a")) or is_webp or is_bmp


class PictureEnd:
    """Looks at a growing buffer that begins with a picture; goes over each byte once."""

    def __init__(self) -> None:
        self._at = 0

    def knows(self, buffer: bytearray) -> bool:
        """Tell whether the format has an end of its own."""
        return buffer.startswith((_JPEG, _PNG))

    def find(self, buffer: bytearray) -> int | None:
        """Return the length of the picture if it is all there, else None."""
        if buffer.startswith(_JPEG):
            return self._jpeg(buffer)
        if buffer.startswith(_PNG):
            return self._png(buffer)
        return None

    def _jpeg(self, buffer: bytearray) -> int | None:
        """Go from marker to marker: over segments by their length, over a scan (and junk) by looking for the next."""
        self._at = max(self._at, 2)
        while self._at < len(buffer):
            found = _MARKER.search(buffer, self._at)
            if found is None:
                self._at = len(buffer) - 1
                return None
            self._at, marker, end = found.start(), found[1][0], found.end()
            if marker == _EOI:
                return end
            if marker in _BARE_MARKERS:
                self._at = end
            elif len(buffer) < end + 2:
                return None
            else:
                self._at = end + max(int.from_bytes(buffer[end : end + 2], "big"), 2)
        return None

    def _png(self, buffer: bytearray) -> int | None:
        self._at = max(self._at, len(_PNG))
        while self._at + 8 <= len(buffer):
            end = self._at + 12 + int.from_bytes(buffer[self._at : self._at + 4], "big")
            if buffer[self._at + 4 : self._at + 8] == b"IEND":
                return end if len(buffer) >= end else None
            self._at = end
        return None
