"""The picture in a message, whatever form it came in. Pure.

Forms, tried in this order: the picture's own bytes; a JSON object with base64 or a data URL at a field; a data URL
(RFC 2397); hex or base64 of a picture as plain text. What is none of these goes on as it is: the classifier's "this is
no picture" is the better refusal.
"""

import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapters.mqtt.base64_text import decode_base64
from adapters.mqtt.refusals import PayloadInvalid
from gateway.errors import PayloadTooLarge
from gateway.identifiers import submission_id_checked, timestamp
from gateway.settings import MqttSettings
from gateway.strict_json import JsonInvalid, parse_strict_json

# How the pictures that the gateway takes begin. BMP's two letters are left to the end: "BM" may also begin base64.
_MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"RIFF")
_BMP_MAGIC = b"BM"
_MAGIC_BYTES = 8
_TEXT_START = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*")
_DATA_URL = re.compile(r"data:(?P<type>[^,]{0,256}),", re.IGNORECASE)
_DATA_URL_HEAD_CHARS = len("data:") + 256 + 1
_SPACE = b" \t\r\n"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_DATA_URL_START = b"data:"


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFields:
    """Where JSON holds the picture, its id and its time: names with dots between them. Empty: nowhere."""

    image: str
    id: str
    captured_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The picture's own bytes, with what its envelope said."""

    data: bytes
    submission_id: str | None = None
    captured_at: datetime | None = None


def picture_fields(settings: MqttSettings) -> PictureFields:
    """Return the fields that the settings name."""
    return PictureFields(image=settings.image_field, id=settings.id_field, captured_at=settings.captured_at_field)


def check_size(payload: bytes, bytes_max: int, setting: str) -> None:
    """Refuse a payload above ``bytes_max``. Text forms count as they came: base64 carries three quarters of it."""
    if len(payload) > bytes_max:
        raise PayloadTooLarge(f"the message has {len(payload)} bytes; at most {setting} = {bytes_max} are taken")


def read_picture(payload: bytes, fields: PictureFields) -> Picture:
    """Return the picture in ``payload``. Raises PayloadInvalid, and RequestInvalid for ids and times."""
    if payload.startswith(_MAGICS):
        return Picture(data=payload)
    start = _TEXT_START.match(payload)
    assert start is not None
    first = payload[start.end() : start.end() + len(_DATA_URL_START)]
    if first.startswith(b"{"):
        return _from_json(payload, fields)
    if first.lower() == _DATA_URL_START:
        return Picture(data=_from_text(payload, start.end()))
    return Picture(data=_plain_text(payload) or payload)


def _plain_text(payload: bytes) -> bytes | None:
    """Return the picture that ``payload`` is hex or base64 of, or None if it plainly is neither."""
    head = payload[: 4 * _MAGIC_BYTES].translate(None, _SPACE)
    try:
        if _is_picture(_hex_head(head)):
            return binascii.unhexlify(payload.translate(None, _SPACE))
        if _is_picture(_base64_head(head)):
            return decode_base64(payload)
    except (binascii.Error, PayloadInvalid):
        pass  # it only began like one: the classifier says what it makes of the bytes
    return None


def _is_picture(head: bytes) -> bool:
    return head.startswith((*_MAGICS, _BMP_MAGIC))


def _hex_head(head: bytes) -> bytes:
    try:
        return bytes.fromhex(head[: 2 * _MAGIC_BYTES].decode("ascii"))
    except ValueError:
        return b""


def _base64_head(head: bytes) -> bytes:
    try:
        return binascii.a2b_base64(head[: min(12, len(head) // 4 * 4)].translate(_URL_SAFE), strict_mode=True)
    except ValueError:
        return b""


def _from_json(payload: bytes, fields: PictureFields) -> Picture:
    try:
        document = parse_strict_json(payload)
    except JsonInvalid as error:
        raise PayloadInvalid(str(error)) from error
    text = _at(document, fields.image)
    if text is None:
        raise PayloadInvalid(f"the JSON has no field {fields.image}")
    if not isinstance(text, str):
        raise PayloadInvalid(f"the field {fields.image} is not a text")
    return Picture(data=_from_text(text), submission_id=_id(document, fields), captured_at=_time(document, fields))


def _at(document: Any, path: str) -> Any:
    """Return what stands at a dotted path, or None."""
    for name in path.split(".") if path else ():
        document = document.get(name) if isinstance(document, dict) else None
    return document if path else None


def _id(document: Any, fields: PictureFields) -> str | None:
    """Return the device's id of the picture; counters are numbers, so whole ones are accepted."""
    value = _at(document, fields.id)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise PayloadInvalid(f"the field {fields.id} is neither a text nor a whole number")
    return submission_id_checked(str(value))


def _time(document: Any, fields: PictureFields) -> datetime | None:
    value = _at(document, fields.captured_at)
    if value is None:
        return None
    if not isinstance(value, str):
        raise PayloadInvalid(
            f"the field {fields.captured_at} is not a text", hint="send RFC 3339 with an offset: 2026-05-04T08:30:00Z"
        )
    return timestamp(value)


def _from_text(text: str | bytes, start: int = 0) -> bytes:
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
