"""The JSON that goes out: Custom Vision answers, receipts, events, problems. Pure; one function a document.

Times are RFC 3339 with ``Z``, except ``created``, which Custom Vision writes without a zone.
"""

import json
from datetime import datetime
from http import HTTPStatus

from gateway.errors import SubmissionError, Unavailable
from gateway.messages import Classification, Event, ModelIdentity, Receipt, Result, Summary
from gateway.summaries import summary_document

# RFC 9457: a URI that need not resolve. A site is offline, so it does not.
PROBLEM_TYPE = "urn:gateway-bridge:problem:"

Document = dict[str, object]


def encoded(document: Document) -> bytes:
    """Return compact UTF-8 JSON."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def custom_vision(receipt: Receipt) -> Document:
    """Return what the exported container answers, in its words and order, and nothing more.

    Lean on purpose: the Wio Terminal client parses it within 1024 bytes.
    """
    item = receipt.items[0]
    classification = _classification(item.result)
    return {
        "created": item.received_at.replace(tzinfo=None).isoformat(),
        "id": "",
        "iteration": "",
        "predictions": [
            {"boundingBox": None, "probability": found.probability, "tagId": "", "tagName": found.label}
            for found in classification.predictions
        ],
        "project": "",
    }


def image_receipt(receipt: Receipt) -> Document:
    """Return the answer of ``POST /v1/devices/{device_id}/images``."""
    item = receipt.items[0]
    return {
        "submission_id": receipt.submission_id,
        "device_id": receipt.device_id,
        "sequence": item.sequence,
        "epoch": item.epoch,
        "duplicate": receipt.duplicate,
        "received_at": _utc(item.received_at),
        "clock": item.clock.value,
        **_classification_fields(_classification(item.result)),
    }


def readings_receipt(receipt: Receipt) -> Document:
    """Return the answer of ``POST /v1/devices/{device_id}/readings``: one entry of ``items`` per reading."""
    first = receipt.items[0]
    return {
        "submission_id": receipt.submission_id,
        "device_id": receipt.device_id,
        "sequence": first.sequence,
        "epoch": first.epoch,
        "duplicate": receipt.duplicate,
        "received_at": _utc(first.received_at),
        "clock": first.clock.value,
        "items": [{"id": item.item_id, "sequence": item.sequence} for item in receipt.items],
    }


def event(found: Event) -> Document:
    """Return a committed event with its state."""
    document: Document = {
        "submission_id": found.submission_id,
        "id": found.item_id,
        "device_id": found.device_id,
        "sequence": found.sequence,
        "epoch": found.epoch,
        "kind": found.kind.value,
        "state": found.state.value,
        "dead_reason": found.dead_reason,
        "transport": found.transport.value,
        "received_at": _utc(found.received_at),
        "clock": found.clock.value,
        "captured_at": None if found.captured_at is None else _utc(found.captured_at),
        "payload_sha256": found.payload_sha256,
        "payload_bytes": found.payload_bytes,
        "id_reused": found.id_reused,
    }
    if isinstance(found.result, Classification):
        return document | _classification_fields(found.result)
    if isinstance(found.result, Summary):
        return document | {"summary": summary_document(found.result)}
    return document | {"values": json.loads(found.result.values_json)}


def problem(error: SubmissionError, *, reference: str | None = None) -> Document:
    """Return the problem (RFC 9457) that says ``error``: what, why, and the cure in ``hint``."""
    document: Document = {
        "type": PROBLEM_TYPE + error.reason,
        "title": title_of(error),
        "status": error.http_status,
        "detail": error.detail,
        "reason": error.reason,
    }
    if error.cure:
        document["hint"] = error.cure
    if isinstance(error, Unavailable):
        document["retry_after_s"] = error.retry_after_s
    if reference is not None:
        document["reference"] = reference
    return document


def problem_text(error: SubmissionError, *, reference: str | None = None) -> str:
    """Return the same as text, for clients that show it to a human or drop it."""
    lines = [f"{error.http_status} {title_of(error)}: {error.detail}", f"reason: {error.reason}"]
    if error.cure:
        lines.append(f"hint: {error.cure}")
    if reference is not None:
        lines.append(f"reference: {reference}")
    return "\n".join(lines) + "\n"


def custom_vision_error(error: SubmissionError) -> Document:
    """Return the error form of the Custom Vision prediction API, which its SDK parses: a code and a message."""
    message = error.detail if not error.cure else f"{error.detail} ({error.cure})"
    return {"code": error.reason, "message": message}


def title_of(error: SubmissionError) -> str:
    """Return the reason in words."""
    return error.reason.replace("_", " ").capitalize() or HTTPStatus(error.http_status).phrase


def _classification_fields(classification: Classification) -> Document:
    return {
        "predictions": [
            {"label": found.label, "probability": found.probability} for found in classification.predictions
        ],
        "model": _model(classification.model),
        "image": {
            "format": classification.image_format,
            "width": classification.image_width,
            "height": classification.image_height,
        },
        "timings": {
            "decode_ms": round(classification.decode_ms, 3),
            "preprocess_ms": round(classification.preprocess_ms, 3),
            "inference_ms": round(classification.inference_ms, 3),
        },
    }


def _model(model: ModelIdentity) -> Document:
    return {
        "name": model.name,
        "model_sha256": model.model_sha256,
        "labels_sha256": model.labels_sha256,
        "runtime": model.runtime,
    }


def _classification(result: Result) -> Classification:
    assert isinstance(result, Classification), "an image route got the receipt of a reading"
    return result


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat() + "Z"
