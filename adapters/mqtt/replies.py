"""What a device reads on its results and commands topics: one compact JSON object, bounded. Pure.

Its fields are those of the HTTP answers (docs/PROTOCOLS.md), with ``status`` and the topic that is answered.
"""

import json
from datetime import datetime

from adapters.mqtt.chunks import Dropped, PictureKey
from adapters.mqtt.contract import Refused
from gateway.messages import Classification, DeviceCommand, Receipt

# Devices parse this in small buffers: a model of a thousand classes tells its most likely.
PREDICTIONS_MAX = 10
TEXT_CHARS_MAX = 400

Document = dict[str, object]


def accepted(receipt: Receipt, *, topic: str) -> bytes:
    """Return the receipt: it is on disk."""
    first, last = receipt.items[0], receipt.items[-1]
    document: Document = {
        "status": "accepted",
        "topic": _short(topic),
        "submission_id": receipt.submission_id,
        "sequence": first.sequence,
        "epoch": first.epoch,
        "duplicate": receipt.duplicate,
        "received_at": _utc(first.received_at),
        "clock": first.clock.value,
    }
    if isinstance(first.result, Classification):
        document |= _predictions(first.result)
    else:
        document |= {"items": len(receipt.items), "sequence_last": last.sequence}
    return _encoded(document)


def refused(outcome: Refused, *, topic: str, submission_id: str | None) -> bytes:
    """Return why it was refused, and the cure."""
    return _encoded(
        {
            "status": "refused",
            "topic": _short(topic),
            **({} if submission_id is None else {"submission_id": submission_id}),
            "reason": outcome.reason,
            "detail": _short(outcome.detail),
            "hint": _short(outcome.cure),
        }
    )


def incomplete(key: PictureKey, missing: tuple[tuple[int, int], ...], *, topic: str) -> bytes:
    """Return which chunks are missing: ranges of indexes, both ends included."""
    return _encoded(
        {
            "status": "incomplete",
            "topic": _short(topic),
            "submission_id": str(key.whole.picture_id),
            "count": key.whole.count,
            "missing": [list(pair) for pair in missing],
        }
    )


def dropped(notice: Dropped) -> bytes:
    """Return that a picture in chunks was given up, unasked."""
    return _encoded(
        {
            "status": "dropped",
            "submission_id": str(notice.key.whole.picture_id),
            "reason": notice.reason,
            "detail": _short(notice.detail),
            "hint": "send all chunks of this picture again",
        }
    )


def command(told: DeviceCommand) -> bytes:
    """Return what the device shall do. ``command_id`` lets it recognise a repetition."""
    return _encoded(
        {
            "command_id": told.command_id,
            "command": told.name,
            **({} if told.value is None else {"value": told.value}),
            **({} if told.payload_json is None else {"payload": json.loads(told.payload_json)}),
        }
    )


def _predictions(classification: Classification) -> Document:
    ranked = sorted(classification.predictions, key=lambda prediction: prediction.probability, reverse=True)
    told = [{"label": _short(found.label), "probability": found.probability} for found in ranked[:PREDICTIONS_MAX]]
    left_out = len(ranked) - len(told)
    return {"predictions": told} | ({"predictions_left_out": left_out} if left_out else {})


def _encoded(document: Document) -> bytes:
    # Lone surrogates can't come in a topic (the codec refuses them) nor in a detail (ascii() quotes them).
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _short(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"
