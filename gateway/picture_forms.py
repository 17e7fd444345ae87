"""The text forms that devices put pictures into, over whatever protocol: base64, hex, data URLs (RFC 2397). Pure.

A form is recognised by what it decodes to at its beginning, so that a text that only looks like base64 stays a text.
"""

import binascii
import re

from gateway.base64_text import decode_base64
from gateway.errors import PayloadInvalid

# How the pictures that the gateway takes begin. BMP's two letters are left to the end: "BM" may also begin base64.
MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"RIFF")
# How much of a text tells: 8 bytes in hex with a line break, or the head of a data URL.
HEAD_BYTES = 64
_BMP_MAGIC = b"BM"
# BMP's two reserved words, which every writer leaves at zero (BITMAPFILEHEADER).
_BMP_RESERVED = slice(6, 10)
_MAGIC_BYTES = 8
_TEXT_START = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*")
_DATA_URL = re.compile(r"data:(?P<type>[^,]{0,256}),", re.IGNORECASE)
_DATA_URL_HEAD_CHARS = len("data:") + 256 + 1
_SPACE = b" \t\r\n"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_DATA_URL_START = b"data:"


def text_start(payload: bytes) -> int:
    """Return where a text begins, behind a byte order mark and white space."""
    start = _TEXT_START.match(payload)
    assert start is not None
    return start.end()


def is_data_url(payload: bytes, start: int = 0) -> bool:
    """Tell whether a data URL begins at ``start``."""
    return payload[start : start + len(_DATA_URL_START)].lower() == _DATA_URL_START


def is_picture(head: bytes) -> bool:
    """Tell whether bytes that begin so are a picture, as far as its first letters tell."""
    is_bmp = head.startswith(_BMP_MAGIC) and not any(head[_BMP_RESERVED])
    return head.startswith(MAGICS) or is_bmp


def begins_picture(head: bytes) -> bool:
    """Tell whether a payload that begins so is a picture in any form. ``HEAD_BYTES`` of it are enough."""
    if is_picture(head):
        return True
    start = text_start(head)
    text = head[start:].translate(None, _SPACE)
    if is_data_url(text):
        return b"image" in text[:16].lower() or b"base64" in text.lower()
    return is_picture(_hex_head(text)) or is_picture(_base64_head(text))


def picture_of(payload: bytes) -> bytes:
    """Return the picture that ``payload`` is, or is a text form of; what is neither comes back as it is.

    Raises PayloadInvalid for a data URL that is broken.
    """
    if payload.startswith(MAGICS):
        return payload
    start = text_start(payload)
    if is_data_url(payload, start):
        return encoded_text(payload, start)
    return plain_text(payload) or payload


def plain_text(payload: bytes) -> bytes | None:
    """Return the picture that ``payload`` is hex or base64 of, or None if it plainly is neither."""
    head = payload[: 4 * _MAGIC_BYTES].translate(None, _SPACE)
    try:
        if _begins_like_picture(_hex_head(head)):
            return binascii.unhexlify(payload.translate(None, _SPACE))
        if _begins_like_picture(_base64_head(head)):
            return decode_base64(payload)
    except (binascii.Error, PayloadInvalid):
        pass  # it only began like one: the classifier says what it makes of the bytes
    return None


def encoded_text(text: str | bytes, start: int = 0) -> bytes:
    """Decode base64, or a data URL that holds it. Its media type is not believed: the content counts."""
    head = text[start : start + _DATA_URL_HEAD_CHARS]
    found = _DATA_URL.match(head if isinstance(head, str) else head.decode("latin-1"))
    if found is None:
        if head[:5].lower() in {"data:", b"data:"}:
            raise PayloadInvalid("the data URL has no comma before its data")
        return decode_base64(text, start)
    if not found["type"].lower().rstrip().endswith(";base64"):
        raise PayloadInvalid("the data URL is not base64")
    return decode_base64(text, start + found.end())


def _begins_like_picture(head: bytes) -> bool:
    return head.startswith((*MAGICS, _BMP_MAGIC))


def _hex_head(head: bytes) -> bytes:
    try:
        return bytes.fromhex(head[: 2 * _MAGIC_BYTES].decode("ascii"))
    except ValueError:
        return b""


def _base64_head(head: bytes) -> bytes:
    try:
        return binascii.a2b_base64(head[: min(16, len(head) // 4 * 4)].translate(_URL_SAFE), strict_mode=True)
    except ValueError:
        return b""
