"""The picture in a message, whatever form it came in. Pure.

Forms, tried in this order: the picture's own bytes; a JSON object with base64 or a data URL at a field; a data URL
(RFC 2397); hex or base64 of a picture as plain text. What is none of these goes on as it is: the classifier's "this is
no picture" is the better refusal.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.errors import PayloadInvalid, PayloadTooLarge
from gateway.identifiers import submission_id_checked, timestamp
from gateway.picture_forms import MAGICS, encoded_text, is_data_url, plain_text, text_start
from gateway.settings import MqttSettings
from gateway.strict_json import JsonInvalid, parse_strict_json


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
    if payload.startswith(MAGICS):
        return Picture(data=payload)
    start = text_start(payload)
    if payload[start : start + 1] == b"{":
        return _from_json(payload, fields)
    if is_data_url(payload, start):
        return Picture(data=encoded_text(payload, start))
    return Picture(data=plain_text(payload) or payload)


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
    return Picture(data=encoded_text(text), submission_id=_id(document, fields), captured_at=_time(document, fields))


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
