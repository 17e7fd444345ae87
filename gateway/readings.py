"""A JSON body → :class:`~gateway.messages.Readings`. Pure.

Accepted: one JSON object, or an array of 1 to ``READINGS_PER_SUBMISSION_MAX`` of them; SenML packs (see senml.py).
Read strictly (strict_json.py); lone surrogates are refused too.
"""

import json
from datetime import datetime
from typing import Any

from gateway.errors import ReadingInvalid
from gateway.messages import Reading, Readings
from gateway.senml import is_senml, resolved
from gateway.strict_json import JsonInvalid, parse_strict_json

# One submission is one transaction: this many rows commit in a few milliseconds even on an SD card.
READINGS_PER_SUBMISSION_MAX = 256


def parse_readings(data: bytes, *, content_type: str, now: datetime) -> Readings:
    """Return the readings in ``data``, keys in the device's order; ReadingInvalid says what is wrong and where.

    ``now`` resolves the relative times of SenML.
    """
    try:
        document = parse_strict_json(data)
    except JsonInvalid as error:
        raise ReadingInvalid(str(error)) from error
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


def _compact(record: dict[str, Any]) -> str:
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ReadingInvalid("a text holds half of a surrogate pair") from error
    return text
