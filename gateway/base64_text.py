"""Base64 (RFC 4648) as devices write it: standard or URL-safe, padded or not, with line ends. Pure.

Decoded piece by piece, so that a text of 8 MiB costs its 6 MiB of picture and not three more copies of itself.
"""

import binascii
import io

from gateway.errors import PayloadInvalid

_SPACE = b" \t\r\n"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_PIECE = 64 * 1024


def decode_base64(text: str | bytes, start: int = 0) -> bytes:
    """Return what ``text`` says from ``start`` on. Raises PayloadInvalid."""
    picture = io.BytesIO()
    left, is_padded = b"", False
    for at in range(start, len(text), _PIECE):
        digits = _ascii(text, at).translate(_URL_SAFE, _SPACE)
        body = digits.rstrip(b"=")
        if body and is_padded:
            raise PayloadInvalid("the picture is not base64: data after the padding")
        is_padded = is_padded or len(body) < len(digits)
        body = left + body
        whole = len(body) // 4 * 4
        picture.write(_decoded(body[:whole]))
        left = body[whole:]
    # Unused bits of the last digit are ignored, as most encoders of small devices leave something there.
    picture.write(_decoded(left + b"=" * (-len(left) % 4)))
    if not picture.tell():
        raise PayloadInvalid("the picture is empty")
    return picture.getvalue()


def _ascii(text: str | bytes, at: int) -> bytes:
    """Return the piece that begins at ``at``."""
    piece = text[at : at + _PIECE]
    try:
        if isinstance(piece, str):
            return piece.encode("ascii")
        if not piece.isascii():
            piece.decode("ascii")
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        what = "character" if isinstance(text, str) else "byte"
        raise PayloadInvalid(f"{what} {at + error.start} of the picture is not ASCII, so not base64") from error
    return piece


def _decoded(digits: bytes) -> bytes:
    try:
        return binascii.a2b_base64(digits, strict_mode=True) if digits else b""
    except binascii.Error as error:
        raise PayloadInvalid(f"the picture is not base64: {str(error).lower()}") from error
