"""A JSON body → :class:`~gateway.messages.Readings`. Pure.

Accepted: one JSON object, or an array of 1 to ``READINGS_PER_SUBMISSION_MAX`` of them; SenML packs (see senml.py).
Refused, because consumers downstream disagree on their meaning: NaN and Infinity, integers beyond 64 bits, duplicate
keys, invalid UTF-8, lone surrogates, deep nesting.
"""

import json
import math
from datetime import datetime
from typing import Any, NoReturn

from adapters.http.senml import is_senml, resolved
from gateway.errors import ReadingInvalid
from gateway.messages import Reading, Readings

# One submission is one transaction: this many rows commit in a few milliseconds even on an SD card.
READINGS_PER_SUBMISSION_MAX = 256
# Deeper than any sensor's document; parsers of consumers start to differ far above it.
DEPTH_MAX = 16
INT64 = range(-(2**63), 2**63)
# What int() needs for 64 bits with sign; longer ones are refused before int() works on them.
INT_DIGITS_MAX = 20


def parse_readings(data: bytes, *, content_type: str, now: datetime) -> Readings:
    """Return the readings in ``data``, keys in the device's order; ReadingInvalid says what is wrong and where.

    ``now`` resolves the relative times of SenML.
    """
    document = _parsed(data)
    records = document if isinstance(document, list) else [document]
    if not records:
        raise ReadingInvalid("the array is empty")
    if len(records) > READINGS_PER_SUBMISSION_MAX:
        raise ReadingInvalid(
            f"the array has {len(records)} elements; at most {READINGS_PER_SUBMISSION_MAX} go together"
        )
    if any(not isinstance(record, dict) or not record for record in records):
        raise ReadingInvalid("a reading is a JSON object with at least one value")
    if is_senml(records, content_type=content_type):
        records = resolved(records, now=now)
    items = tuple(Reading(values_json=_compact(record)) for record in records)
    return Readings(data=data, items=items, is_array=isinstance(document, list))


def _parsed(data: bytes) -> Any:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReadingInvalid(f"byte {error.start} is not UTF-8") from error
    try:
        document = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise ReadingInvalid(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise ReadingInvalid(f"nested deeper than {DEPTH_MAX} levels") from error
    _check_depth(document)
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ReadingInvalid("a key appears twice in one object")
    return values


def _integer(text: str) -> int:
    if len(text) > INT_DIGITS_MAX or int(text) not in INT64:
        raise ReadingInvalid("an integer does not fit 64 bits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ReadingInvalid("a number is too large for a double")
    return number


def _constant(text: str) -> NoReturn:
    raise ReadingInvalid(f"{text} is not JSON")


def _check_depth(document: Any) -> None:
    """Refuse more than DEPTH_MAX levels below the record; a stack of our own, as recursion is what we guard against."""
    waiting = [(document, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, (dict, list)):
            if depth > DEPTH_MAX:
                raise ReadingInvalid(f"nested deeper than {DEPTH_MAX} levels")
            children = value.values() if isinstance(value, dict) else value
            waiting.extend((child, depth + 1) for child in children)


def _compact(record: dict[str, Any]) -> str:
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ReadingInvalid("a text holds half of a surrogate pair") from error
    return text
