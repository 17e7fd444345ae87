"""What a picture is, read from its first bytes without decoding anything. Pure.

Owns: recognising the five formats by content, their size in pixels, their orientation, and ``essence``: the same
picture without its metadata. Only the essence goes to Pillow, so that its parsers of EXIF, XMP, ICC, IPTC, MPF, text
chunks and GIF comments, which warn, inflate or concatenate without need, never run on a stranger's bytes.

Invariant: ``width`` x ``height`` is at least what the decoder will allocate, or decoding is refused (image.py checks).
Limits: EXIF in a PNG's ``Raw profile type`` text and orientation in XMP are not read.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from gateway.errors import ImageDamaged, NotAnImage
from gateway.vision.image_exif import EXIF_PREFIX, orientation

Format = Literal["jpeg", "png", "bmp", "gif", "webp"]

# A phone's JPEG has some 30 segments, a PNG of 256 MiB in 8 KiB pieces 32,768 chunks: more is an attack on our loop.
_PARTS_MAX = 65_536
# Encoders write some ten scans, the most thorough 64. Each is a pass over the whole picture for 20 bytes of file: the
# 8 MiB of limits.image_bytes_max would keep a core busy for an hour.
_SCANS_MAX = 100
_JUNK_MAX = 65_536  # bytes between JPEG segments that a sloppy camera may leave


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """A picture that has been recognised and not yet decoded. ``width`` and ``height`` are before orientation.

    ``progressive`` (JPEG only) says that a decoder must hold all coefficients at once: it comes in several scans.
    """

    format: Format
    width: int
    height: int
    orientation: int
    essence: bytes
    progressive: bool = False

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def read_header(data: bytes) -> ImageHeader:
    """Return what ``data`` is. Raises NotAnImage (some other kind of bytes) or ImageDamaged (cut short, absurd)."""
    image_format = _sniff(data)
    try:
        header = _READERS[image_format](data)
    except (struct.error, IndexError) as error:
        raise ImageDamaged(f"the {image_format} header is cut short after {len(data)} bytes") from error
    if header.width <= 0 or header.height <= 0:
        raise ImageDamaged(f"the {image_format} header says {header.width} x {header.height} pixels")
    return header


def _sniff(data: bytes) -> Format:
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith(b"BM"):
        return "bmp"
    raise NotAnImage(f"the payload is {_what_else(data)}")


_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a PNG whose line ends were changed by a text-mode transfer"),
    (b"II*\x00", "a TIFF or raw camera file"),
    (b"MM\x00*", "a TIFF or raw camera file"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"<", "markup (SVG, HTML or XML)"),
    (b"{", "JSON"),
    (b"[", "JSON"),
    (b"data:image/", "a data: URL; send the bytes it holds"),
    (b"/9j/", "base64 text; send the bytes it holds"),
    (b"iVBORw0KGgo", "base64 text; send the bytes it holds"),
    (b"--", "a multipart form that was not taken apart; check its Content-Type"),
)


def _what_else(data: bytes) -> str:
    if not data:
        return "empty"
    if data[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file"
    for prefix, name in _OTHERS:
        if data.startswith(prefix):
            return name
    return f"{len(data)} bytes of no known picture format (they begin with {data[:8].hex(' ')})"


# --- JPEG (ITU T.81 annex B) --------------------------------------------------------------------------

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # C4, C8, CC are tables and extensions
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_SOS, _EOI, _APP0, _APP1, _APP14, _COM = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE, 0xFE


def _read_jpeg(data: bytes) -> ImageHeader:
    view = memoryview(data)
    kept = [view[:2]]
    size: tuple[int, int] | None = None
    turned = 1
    progressive = False
    for marker, start, end in _jpeg_segments(data):
        if marker in _SOF and size is None:
            height, width = struct.unpack_from(">HH", data, start + 5)
            size = (width, height)
            progressive = marker in _PROGRESSIVE
        if marker == _SOS:
            progressive = _scans(data, start) > 1 or progressive
        if marker == _APP1 and turned == 1 and data.startswith(EXIF_PREFIX, start + 4):
            turned = orientation(data[start + 4 : end])
        # APP0 (JFIF) and APP14 (Adobe) tell libjpeg the colour space; the other APPn and comments are metadata.
        if marker in (_APP0, _APP14) or not (_APP0 <= marker <= 0xEF or marker == _COM):
            kept.append(view[start:end])
    if size is None:
        raise ImageDamaged("the JPEG has picture data but no frame header")
    return ImageHeader(
        format="jpeg",
        width=size[0],
        height=size[1],
        orientation=turned,
        essence=b"".join(kept),
        progressive=progressive,
    )


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment; the last is SOS, which runs to the end of the data."""
    at = 2
    for _ in range(_PARTS_MAX):
        at = _next_marker(data, at)
        marker = data[at + 1]
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        if marker == _EOI:
            break
        if marker == _SOS:
            yield marker, at, len(data)
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise ImageDamaged(f"the JPEG is cut short inside its header (segment {marker:#04x} at byte {at})")
        yield marker, at, end
        at = end
    raise ImageDamaged("the JPEG ends before its picture data")


_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def _scans(data: bytes, at: int) -> int:
    """Return how many scans the picture has, whose first begins ``at``. ImageDamaged for more than a picture has."""
    scans = 0
    for _ in range(_PARTS_MAX):
        # In the coded data FF is followed by 00, or is a restart (T.81 F.1.2.3).
        found = _MARKER.search(data, at)
        if found is None:
            return scans
        marker, at = found[0][1], found.end()
        if marker == _EOI:
            return scans
        if marker in _WITHOUT_LENGTH:
            continue
        scans += marker == _SOS
        if scans > _SCANS_MAX:
            raise ImageDamaged(f"the JPEG has more than {_SCANS_MAX} scans")
        at += max(2, int.from_bytes(data[at : at + 2]))
    raise ImageDamaged(f"the JPEG has more than {_PARTS_MAX} segments")


def _next_marker(data: bytes, at: int) -> int:
    """Return where the next marker's FF stands, skipping fill bytes and the junk that decoders forgive."""
    limit = min(len(data), at + _JUNK_MAX)
    while True:
        at = data.find(b"\xff", at, limit)
        if at < 0 or at + 1 >= len(data):
            raise ImageDamaged(f"the JPEG is cut short inside its header, at byte {len(data)}")
        if data[at + 1] not in (0x00, 0xFF):
            return at
        at += 1


# --- PNG (W3C PNG, 3rd edition, 5 and 11) -------------------------------------------------------------

# Pixels need no more; tRNS is dropped because alpha is: Pillow would only carry it along, and warn.
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})


def _read_png(data: bytes) -> ImageHeader:
    if data[12:16] != b"IHDR":
        raise ImageDamaged("the PNG does not begin with its header chunk")
    width, height = struct.unpack_from(">II", data, 16)
    view = memoryview(data)
    kept = [view[:8]]
    turned = 1
    for kind, start, end in _png_chunks(data):
        if kind in _PNG_KEPT:
            kept.append(view[start:end])
        elif kind == b"eXIf":
            turned = orientation(data[start + 8 : end - 4])
    return ImageHeader(format="png", width=width, height=height, orientation=turned, essence=b"".join(kept))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of every chunk up to IEND."""
    at = 8
    for _ in range(_PARTS_MAX):
        if at >= len(data):
            break
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            raise ImageDamaged(f"the PNG is cut short: {len(data)} of at least {end} bytes")
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise ImageDamaged(f"the PNG is cut short: it has no end chunk in {len(data)} bytes")


# --- GIF (GIF89a specification, 18-24) ----------------------------------------------------------------

_GRAPHIC_CONTROL = 0xF9


def _read_gif(data: bytes) -> ImageHeader:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    tables_end = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    control = b""
    at = tables_end
    for _ in range(_PARTS_MAX):
        if data[at] == 0x2C:
            left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
            # Decoders enlarge the screen to hold a first frame that sticks out of it.
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            essence = data[:tables_end] + control + data[at:]
            return ImageHeader(format="gif", width=width, height=height, orientation=1, essence=essence)
        if data[at] != 0x21:
            raise ImageDamaged(f"the GIF has no picture: byte {at} is {data[at]:#04x}")
        end = _after_sub_blocks(data, at + 2)
        if data[at + 1] == _GRAPHIC_CONTROL:
            control = data[at:end]
        at = end
    raise ImageDamaged("the GIF has no picture among its extensions")


def _after_sub_blocks(data: bytes, at: int) -> int:
    for _ in range(_PARTS_MAX):
        if data[at] == 0:
            return at + 1
        at += 1 + data[at]
    raise ImageDamaged("the GIF has an extension without an end")


# --- BMP (BITMAPFILEHEADER, BITMAPCOREHEADER, BITMAPINFOHEADER) ---------------------------------------


_BMP_RUN_LENGTHS = frozenset({1, 2})  # BI_RLE8, BI_RLE4


def _read_bmp(data: bytes) -> ImageHeader:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", data, 18)
    if header_bytes >= 40 and struct.unpack_from("<I", data, 30)[0] in _BMP_RUN_LENGTHS:
        # Pillow unpacks these in Python, and before 12 a jump in them could take 255 times the picture's memory.
        raise NotAnImage("the payload is a run-length encoded BMP; send an uncompressed one")
    # A negative height means that the rows run from the top.
    return ImageHeader(format="bmp", width=width, height=abs(height), orientation=1, essence=data)


# --- WebP (RFC 9649, 2) -------------------------------------------------------------------------------


def _read_webp(data: bytes) -> ImageHeader:
    size: tuple[int, int] | None = None
    turned = 1
    for kind, start, end in _riff_chunks(data):
        if size is None and kind in _WEBP_SIZES:
            size = _WEBP_SIZES[kind](data, start)
        if kind == b"EXIF":
            turned = orientation(data[start:end])
    if size is None:
        raise ImageDamaged("the WebP has no picture data")
    return ImageHeader(format="webp", width=size[0], height=size[1], orientation=turned, essence=data)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of every chunk's payload."""
    (riff_bytes,) = struct.unpack_from("<I", data, 4)
    total = riff_bytes + 8
    if total > len(data):
        raise ImageDamaged(f"the WebP is cut short: {len(data)} of {total} bytes")
    at = 12
    for _ in range(_PARTS_MAX):
        if at + 8 > total:
            return
        (length,) = struct.unpack_from("<I", data, at + 4)
        if at + 8 + length > total:
            raise ImageDamaged(f"the WebP is cut short inside its chunk at byte {at}")
        yield data[at : at + 4], at + 8, at + 8 + length
        at += 8 + length + (length & 1)
    raise ImageDamaged("the WebP has too many chunks")


def _webp_canvas(data: bytes, start: int) -> tuple[int, int]:
    width, height = data[start + 4 : start + 7], data[start + 7 : start + 10]
    return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1


def _webp_lossy(data: bytes, start: int) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, start + 6)
    return width & 0x3FFF, height & 0x3FFF


def _webp_lossless(data: bytes, start: int) -> tuple[int, int]:
    (packed,) = struct.unpack_from("<I", data, start + 1)
    return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1


_WEBP_SIZES: dict[bytes, Callable[[bytes, int], tuple[int, int]]] = {
    b"VP8X": _webp_canvas,
    b"VP8 ": _webp_lossy,
    b"VP8L": _webp_lossless,
}

_READERS: dict[Format, Callable[[bytes], ImageHeader]] = {
    "jpeg": _read_jpeg,
    "png": _read_png,
    "gif": _read_gif,
    "bmp": _read_bmp,
    "webp": _read_webp,
}
