"""Pictures that are made to hurt whoever opens them: small files that want gigabytes, or hours. By name."""

import functools
import io
import struct
import zlib
from collections.abc import Callable

from PIL import Image

MIB = 1024 * 1024
_SOF0, _SOS = b"\xff\xc0", b"\xff\xda"


def png(width: int, height: int, *extra: tuple[bytes, bytes], data: bytes = b"", depth: bytes = b"\x08\x02") -> bytes:
    """Return a PNG that says so, with these chunks before its data."""
    header = struct.pack(">II", width, height) + depth + b"\0\0\0"
    chunks = [(b"IHDR", header), *extra, (b"IDAT", data or zlib.compress(bytes(100))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@functools.cache
def inflated(mib: int) -> bytes:
    """Return a thousandth of ``mib`` MiB that becomes all of it."""
    pack = zlib.compressobj(9)
    return b"".join(pack.compress(bytes(MIB)) for _ in range(mib)) + pack.flush()


def sound_png(*extra: tuple[bytes, bytes]) -> bytes:
    rows = zlib.compress(bytes((1 + 3 * 64) * 64))
    return png(64, 64, *extra, data=rows)


def _saved(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def many_frames(file_format: str, count: int) -> bytes:
    frames = [Image.new("RGB", (64, 64), (number % 256, number // 256, 0)) for number in range(count)]
    return _saved(frames[0], file_format, save_all=True, append_images=frames[1:])


def many_scans(scans: int) -> bytes:
    """Return a progressive JPEG that goes over its 6 megapixels once more for every 20 bytes."""
    data = _saved(Image.new("L", (3000, 2000)), "JPEG", progressive=True)
    last = data[data.rfind(_SOS) : -2]
    return data[:-2] + last * scans + b"\xff\xd9"


def plane_by_plane(width: int, height: int) -> bytes:
    """Return a baseline JPEG, its three colours one after the other: to decode it takes what a progressive takes."""
    grey = _saved(Image.new("L", (width, height), 90), "JPEG")
    at, scan = grey.find(_SOF0), grey.find(_SOS)
    frame = grey[at : at + 2 + int.from_bytes(grey[at + 2 : at + 4])]
    component = frame[11:13]  # sampling and table
    planes = b"".join(bytes([number]) + component for number in (1, 2, 3))
    colour = _SOF0 + struct.pack(">H", 17) + frame[4:9] + b"\x03" + planes
    coded = grey[scan + 10 : -2]
    scans = b"".join(_SOS + b"\0\x08\x01" + bytes([number]) + b"\0\0\x3f\0" + coded for number in (1, 2, 3))
    return grey[:at] + colour + grey[at + len(frame) : scan] + scans + b"\xff\xd9"


def bmp(width: int, height: int, compression: int, body: bytes) -> bytes:
    offset = 14 + 40 + 1024
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + info + bytes(1024) + body


def webp_of(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a small WebP whose canvas says so, with these chunks beside it."""
    inner = _saved(Image.new("RGB", (16, 16)), "WEBP")[12:]
    canvas = struct.pack("<I", 0x2C) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    parts = [b"VP8X" + struct.pack("<I", 10) + canvas]
    parts += [kind + struct.pack("<I", len(body)) + body + bytes(len(body) & 1) for kind, body in chunks]
    content = b"WEBP" + b"".join(parts) + inner
    return b"RIFF" + struct.pack("<I", len(content)) + content


def jpeg_with(*segments: bytes) -> bytes:
    plain = _saved(Image.new("RGB", (64, 64)), "JPEG")
    return plain[:2] + b"".join(segments) + plain[2:]


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def tiff(width: int, height: int) -> bytes:
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 10)]
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + bytes(4)


def exif_loop() -> bytes:
    """Return EXIF whose first directory has as many entries as can be said and points to itself."""
    return b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 0x8769, 4, 1, 8) * 5000


def gif(width: int, height: int, frame: tuple[int, int], body: bytes) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return head + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + body + b";"


REFUSED: dict[str, Callable[[], bytes]] = {
    "png of 4,000 megapixels": lambda: png(2**16, 2**16, data=inflated(8)),
    "png as wide as can be said": lambda: png(2**31 - 1, 1),
    "png of 64 bits a pixel": lambda: png(4000, 4000, data=inflated(8), depth=b"\x10\x06"),
    "gif of a huge screen": lambda: gif(65535, 65535, (1, 1), b"\x02\x02\x44\x01\0"),
    "gif frame beyond its screen": lambda: gif(1, 1, (65535, 65535), b"\x02\x02\x44\x01\0"),
    "webp of a huge canvas": lambda: webp_of(2**14, 2**14),
    "bmp of a huge size": lambda: bmp(2**30, 2**30, 0, b""),
    "bmp run-length jump": lambda: bmp(3_000_000, 1, 1, b"\x00\x02\xff\xff\x00\x01"),
    "bmp of tiny runs": lambda: bmp(3000, 3000, 1, b"\x01\x07" * 3_000_000),
    "jpeg of a huge frame": lambda: jpeg_with(segment(0xC0, b"\x08\xff\xff\xff\xff\x03\x01\x11\0\x02\x11\0\x03\x11\0")),
    "jpeg of many scans": lambda: many_scans(100_000),
    "jpeg of many segments": lambda: jpeg_with(segment(0xFE, b"") * 1_000_000),
    "tiff of a huge size": lambda: tiff(2**31, 2**31),
    "tiff inside a jpeg's first bytes": lambda: b"\xff\xd8\xff" + tiff(50_000, 50_000),
    "tiff inside a riff": lambda: b"RIFF" + struct.pack("<I", 4) + b"WEBP" + tiff(50_000, 50_000),
}

# Nothing is wrong with what is to be seen: it is classified, and what hangs on to it never unpacked.
HARMLESS: dict[str, Callable[[], bytes]] = {
    "png with a profile that inflates": lambda: sound_png((b"iCCP", b"x\0\0" + inflated(200))),
    "png with a text that inflates": lambda: sound_png((b"zTXt", b"Comment\0\0" + inflated(200))),
    "png with many texts": lambda: sound_png(*[(b"tEXt", b"a\0" + bytes(8))] * 60_000),
    "gif of a thousand frames": lambda: many_frames("GIF", 1000),
    "webp of a hundred frames": lambda: many_frames("WEBP", 100),
    "webp with a huge profile": lambda: webp_of(16, 16, (b"ICCP", bytes(6 * MIB)), (b"EXIF", exif_loop())),
    "jpeg with profiles to the brim": lambda: jpeg_with(
        *[segment(0xE2, b"ICC_PROFILE\0" + bytes(65_000))] * 100, segment(0xE1, exif_loop())
    ),
}
