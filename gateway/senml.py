"""SenML (RFC 8428): base fields resolved into each record, as section 4.6 describes. Pure.

A pack is recognised by ``Content-Type: application/senml+json``, or by its fields: every key is one of SenML's and the
first record has a text ``bn`` or ``n``. Kept small: no ``_`` fields that must be understood, no ``bver`` but 10.
What comes out of a record: ``n`` (base name + name), ``t`` (absolute, seconds), ``u``, and its value fields.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gateway import RELEASED_AT
from gateway.errors import ReadingInvalid

SENML_TYPE = "application/senml+json"
_BASE = frozenset({"bn", "bt", "bu", "bv", "bs", "bver"})
_VALUES = ("v", "vs", "vb", "vd", "s")
_FIELDS = _BASE | {"n", "u", "t", "ut", *_VALUES}
_NUMBERS = ("bt", "bv", "bs", "bver", "t", "ut", "v", "s")
_TEXTS = ("bn", "bu", "n", "u", "vs", "vd")
# Below 2^28 a time is relative to now (RFC 8428 section 4.5.3).
RELATIVE_TIME_BELOW_S = 2**28
# A base field is repeated in every resolved record: unbounded, 64 kB of input would become 16 MB.
NAME_CHARS_MAX = 256
UNIT_CHARS_MAX = 64


def is_senml(records: Sequence[dict[str, Any]], *, content_type: str) -> bool:
    """Tell a SenML pack from plain objects: by its media type, or by its keys."""
    if content_type.partition(";")[0].strip().lower() == SENML_TYPE:
        return True
    first = records[0]
    named = isinstance(first.get("bn"), str) or isinstance(first.get("n"), str)
    return named and all(record.keys() <= _FIELDS for record in records)


def resolved(records: Sequence[dict[str, Any]], *, now: datetime) -> list[dict[str, Any]]:
    """Return the records with a value, base fields applied; ReadingInvalid names the record that is wrong."""
    base: dict[str, Any] = {}
    out: list[dict[str, Any]] = []
    for index, record in enumerate(records):
        _check_fields(record, index)
        base |= {key: value for key, value in record.items() if key in _BASE}
        if base.get("bver", 10) != 10:
            raise ReadingInvalid(f"SenML record {index}: version {base['bver']} is not 10")
        # A record with base fields alone only sets them.
        if any(key in record for key in _VALUES):
            out.append(_resolve(record, base, index, now))
        elif not record.keys() & _BASE:
            raise ReadingInvalid(f"SenML record {index} has no value")
    if not out:
        raise ReadingInvalid("the SenML pack has no value")
    return out


def _check_fields(record: dict[str, Any], index: int) -> None:
    if unknown := record.keys() - _FIELDS:
        mandatory = sorted(key for key in unknown if key.endswith("_"))
        if mandatory:
            raise ReadingInvalid(f"SenML record {index}: field {mandatory[0]!a} must be understood and is not")
    for key in _NUMBERS:
        if key in record and (isinstance(record[key], bool) or not isinstance(record[key], (int, float))):
            raise ReadingInvalid(f"SenML record {index}: {key} is not a number")
    for key in _TEXTS:
        if key in record and not isinstance(record[key], str):
            raise ReadingInvalid(f"SenML record {index}: {key} is not a text")
    if "vb" in record and not isinstance(record["vb"], bool):
        raise ReadingInvalid(f"SenML record {index}: vb is not true or false")


def _resolve(record: dict[str, Any], base: dict[str, Any], index: int, now: datetime) -> dict[str, Any]:
    name = base.get("bn", "") + record.get("n", "")
    unit = record.get("u", base.get("bu", ""))
    if not name or len(name) > NAME_CHARS_MAX:
        raise ReadingInvalid(f"SenML record {index}: a name has 1 to {NAME_CHARS_MAX} characters, base name included")
    if len(unit) > UNIT_CHARS_MAX:
        raise ReadingInvalid(f"SenML record {index}: a unit has at most {UNIT_CHARS_MAX} characters")
    out: dict[str, Any] = {"n": name}
    if unit:
        out["u"] = unit
    if "bt" in base or "t" in record:
        out["t"] = _absolute(_sum(base.get("bt", 0), record.get("t", 0), index), now)
    if "v" in record:
        out["v"] = _sum(base.get("bv", 0), record["v"], index)
    if "s" in record:
        out["s"] = _sum(base.get("bs", 0), record["s"], index)
    # Fields that are not SenML's and need not be understood travel as they came (RFC 8428 section 4.4).
    return out | {key: value for key, value in record.items() if key not in _BASE and key not in out and key != "u"}


def _sum(base: float, own: float, index: int) -> float:
    """Add two numbers that each are finite or fit 64 bits; so must their sum."""
    total = base + own
    if not math.isfinite(total) or (isinstance(total, int) and not -(2**63) <= total < 2**63):
        raise ReadingInvalid(f"SenML record {index}: base and value add up to more than a number can hold")
    return total


def _absolute(time_s: float, now: datetime) -> float:
    if time_s >= RELATIVE_TIME_BELOW_S or now < RELEASED_AT:
        # A clock in the past would make absolute times of it that are below 2^28 again, or plainly wrong. Relative to
        # the event's own time, which is set right later, it stays true.
        return time_s
    return round(now.timestamp() + time_s, 6)
