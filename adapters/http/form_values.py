"""A reading out of the fields of a query or a form, as sensors send that know no JSON. Pure."""

import json
import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

from gateway.errors import ReadingInvalid, RequestInvalid

FIELDS_MAX = 256
# JSON's numbers; beyond 15 digits a float is not the number that was sent, and serial numbers are no numbers.
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?([eE][+-]?\d{1,2})?")
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,14})")


def form_fields(data: bytes) -> list[tuple[str, str]]:
    """Return the fields of an ``application/x-www-form-urlencoded`` body. Raises RequestInvalid."""
    try:
        return parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise RequestInvalid("the body is no form", hint="send name=value&name=value") from error


def reading_of_fields(fields: Sequence[tuple[str, str]]) -> bytes:
    """Return the fields as a JSON object: numbers as numbers, the rest as text. Raises ReadingInvalid."""
    if not fields or len(fields) > FIELDS_MAX:
        raise ReadingInvalid(f"the request has {len(fields)} values; 1 to {FIELDS_MAX} are taken")
    reading = {name: _value(text) for name, text in fields}
    if len(reading) != len(fields):
        raise ReadingInvalid("the request has a value twice")
    return json.dumps(reading, ensure_ascii=False).encode("utf-8", "replace")


def _value(text: str) -> int | float | str:
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
