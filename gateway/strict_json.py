"""JSON from devices, read strictly. Pure.

Refused, because consumers downstream disagree on their meaning: NaN and Infinity, integers beyond 64 bits, numbers
beyond a double, duplicate keys, invalid UTF-8, deep nesting.
"""

import json
import math
from typing import Any, NoReturn

# Deeper than any sensor's document; parsers of consumers start to differ far above it.
DEPTH_MAX = 16
INT64 = range(-(2**63), 2**63)
# What int() needs for 64 bits with sign; longer ones are refused before int() works on them.
INT_DIGITS_MAX = 20


class JsonInvalid(ValueError):
    """Bytes that are no JSON, or JSON that is refused; the text says what and where."""


def parse_strict_json(data: bytes) -> Any:
    """Return the document in ``data``; a byte order mark is accepted. Raises JsonInvalid."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JsonInvalid(f"byte {error.start} is not UTF-8") from error
    try:
        document = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise JsonInvalid(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise JsonInvalid(f"nested deeper than {DEPTH_MAX} levels") from error
    _check_depth(document)
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise JsonInvalid("a key appears twice in one object")
    return values


def _integer(text: str) -> int:
    if len(text) > INT_DIGITS_MAX or int(text) not in INT64:
        raise JsonInvalid("an integer does not fit 64 bits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise JsonInvalid("a number is too large for a double")
    return number


def _constant(text: str) -> NoReturn:
    raise JsonInvalid(f"{text} is not JSON")


def _check_depth(document: Any) -> None:
    """Refuse more than DEPTH_MAX levels below the outermost. A stack of our own: recursion is what we guard against."""
    waiting = [(document, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, (dict, list)):
            if depth > DEPTH_MAX:
                raise JsonInvalid(f"nested deeper than {DEPTH_MAX} levels")
            children = value.values() if isinstance(value, dict) else value
            waiting.extend((child, depth + 1) for child in children)
