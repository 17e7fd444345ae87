"""An event as people and other programs read it: a line of JSON with everything, or a row of a spreadsheet.

JSON lines are exact. In CSV a cell that a spreadsheet would compute begins with an apostrophe.
"""

import csv
import json
from collections.abc import Callable
from typing import Any, TextIO

from gateway.errors import OperatorError
from gateway.messages import Classification, Event, Result, Summary
from gateway.printable import printable_json
from gateway.result_text import result_text
from gateway.summaries import summary_document

_CSV_FIELDS = (
    "epoch",
    "sequence",
    "submission_id",
    "device_id",
    "transport",
    "kind",
    "state",
    "received_at",
    "clock",
    "captured_at",
    "label",
    "probability",
    "values",
    "id_reused",
    "payload_sha256",
    "payload_bytes",
    "dead_reason",
)
# What spreadsheets compute instead of showing (OWASP, CSV injection): a device or a model's label may begin so.
_FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n")


def event_writer(fmt: str, out: TextIO) -> Callable[[Event], object]:
    """Return what writes an event to ``out``, a line each; ``fmt`` is jsonl or csv. Raises OperatorError."""
    if fmt not in {"jsonl", "csv"}:
        raise OperatorError(f"unknown format {fmt!r}: use jsonl or csv")
    return _csv_writer(out) if fmt == "csv" else _jsonl_writer(out)


def event_json(event: Event) -> str:
    """Return an event as one line of JSON."""
    fields = _fields(event) | {"result": _result(event.result)}
    return printable_json(json.dumps(fields, ensure_ascii=False))


def _result(result: Result) -> Any:
    if isinstance(result, Summary):
        return summary_document(result)
    return json.loads(result_text(result))


def _fields(event: Event) -> dict[str, Any]:
    return {
        "epoch": event.epoch,
        "sequence": event.sequence,
        "submission_id": event.item_id,
        "device_id": event.device_id,
        "transport": event.transport.value,
        "kind": event.kind.value,
        "state": event.state.value,
        "received_at": event.received_at.isoformat(),
        "clock": event.clock.value,
        "received_after": event.received_after.isoformat() if event.received_after else None,
        "received_before": event.received_before.isoformat() if event.received_before else None,
        "captured_at": event.captured_at.isoformat() if event.captured_at else None,
        "id_reused": event.id_reused,
        "payload_sha256": event.payload_sha256,
        "payload_bytes": event.payload_bytes,
        "dead_reason": event.dead_reason,
    }


def _jsonl_writer(out: TextIO) -> Callable[[Event], object]:
    return lambda event: out.write(event_json(event) + "\n")


def _csv_writer(out: TextIO) -> Callable[[Event], object]:
    writer = csv.DictWriter(out, _CSV_FIELDS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    return lambda event: writer.writerow(
        {name: _harmless(value) for name, value in (_fields(event) | _result_columns(event)).items()}
    )


def _harmless(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula; JSON lines have the text as it is."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_BEGINS) else value


def _result_columns(event: Event) -> dict[str, Any]:
    if isinstance(event.result, Classification):
        best = max(event.result.predictions, key=lambda prediction: prediction.probability)
        return {"label": best.label, "probability": best.probability}
    if isinstance(event.result, Summary):
        return {"values": printable_json(json.dumps(_result(event.result), ensure_ascii=False))}
    return {"values": printable_json(event.result.values_json)}
