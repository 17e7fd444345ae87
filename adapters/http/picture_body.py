"""The picture in a whole body that is not multipart: raw, base64, hex, a data URL, a field of a form or of JSON. Pure.

What the bytes are decides, not the Content-Type: weak clients send pictures as ``application/x-www-form-urlencoded``
(curl's default) and forms as ``text/plain``. What holds no picture goes on as it is: the classifier's refusal says so.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from gateway.errors import RequestInvalid
from gateway.picture_forms import HEAD_BYTES, begins_picture, encoded_text, is_picture, picture_of, text_start
from gateway.strict_json import JsonInvalid, parse_strict_json

URLENCODED = "application/x-www-form-urlencoded"
# A form's fields beside the picture: serial number, time, battery. More is no camera.
FIELDS_MAX = 32
FIELD_NAME_BYTES_MAX = 128
# Percent signs are taken apart piece by piece, so that a body of them costs no list of its own length.
_PIECE = 64 * 1024
# {"event": {"image": {"data": "..."}}} is the deepest that devices were seen to send.
JSON_DEPTH_MAX = 4


def picture_of_body(data: bytes, content_type: str) -> bytes:
    """Return the picture's own bytes, or ``data`` where none is recognised. Raises RequestInvalid, PayloadInvalid."""
    if is_picture(data[:HEAD_BYTES]):
        return data
    if data[text_start(data) :][:1] == b"{":
        return _of_json(data)
    if begins_picture(data[:HEAD_BYTES]):
        return picture_of(data)
    if content_type[: len(URLENCODED)].lower() == URLENCODED or _looks_like_form(data):
        return _of_form(data)
    return data


def _looks_like_form(data: bytes) -> bool:
    name, equals, _ = data[:FIELD_NAME_BYTES_MAX].partition(b"=")
    return bool(equals) and name.isascii() and name.decode("ascii").isidentifier()


def _of_form(data: bytes) -> bytes:
    for value in _values(data):
        # Devices forget to escape the "+" of base64; in a picture's own bytes it is a space.
        if begins_picture(percent_decoded(value[: 3 * HEAD_BYTES])):
            text = percent_decoded(value)
            return percent_decoded(value.replace(b"+", b" ")) if is_picture(text[:HEAD_BYTES]) else picture_of(text)
    return data


def _values(data: bytes) -> Iterator[bytes]:
    fields = data.split(b"&", FIELDS_MAX)
    if len(fields) > FIELDS_MAX:
        raise RequestInvalid(f"the form has more than {FIELDS_MAX} fields")
    for field in fields:
        yield field.partition(b"=")[2]


def percent_decoded(text: bytes) -> bytes:
    """Return ``text`` with its %XX as bytes; what is no escape stays as it is (RFC 3986 section 2.1)."""
    if b"%" not in text:
        return text
    decoded = bytearray()
    at = 0
    while at < len(text):
        end = min(len(text), at + _PIECE)
        cut = text.rfind(b"%", max(at + 1, end - 2), end)
        end = cut if cut > 0 and end < len(text) else end
        decoded += unquote_to_bytes(text[at:end])
        at = end
    return bytes(decoded)


def _of_json(data: bytes) -> bytes:
    try:
        document = parse_strict_json(data)
    except JsonInvalid as error:
        raise RequestInvalid(f"the body begins like JSON and is none: {error}") from error
    text = _first_picture(document, JSON_DEPTH_MAX)
    return data if text is None else encoded_text(text)


def _first_picture(node: Any, depth: int) -> str | None:
    """Return the first text of a document that holds a picture, breadth by breadth."""
    if not isinstance(node, dict) or depth == 0:
        return None
    values = list(node.values())
    for value in values:
        if isinstance(value, str) and begins_picture(value[:HEAD_BYTES].encode("utf-8", "replace")):
            return value
    return next((found for value in values if (found := _first_picture(value, depth - 1)) is not None), None)
