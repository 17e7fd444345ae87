"""A result as JSON text: as the outbox keeps it, and as it stands in an item for the hub. Pure.

A reading's text is the device's own JSON, unchanged. A classification's is an
object with ``predictions``, ``model``, ``image`` and ``timings_ms``, in that
order: most of it goes out as it stands, which costs a drain a quarter of what
objects and a second encoding would.
"""

import json
import re
from datetime import datetime
from typing import Any, NoReturn

from gateway.messages import (
    Classification,
    ClockState,
    Kind,
    ModelIdentity,
    Prediction,
    Reading,
    Result,
    Summary,
    SummaryMoment,
)

_BEFORE_PREDICTIONS = '{"predictions":'
# Can't be inside of a label or a name: there a quotation mark is escaped.
_BEFORE_TIMINGS = ',"timings_ms":'
_PREDICTIONS_TOLD = ',"predictions":'
# What nearly every row is: labels without escapes, times of at most three decimals. One pass of the regular expression
# engine, without a number or an object made: a third of what parsing costs. It never goes back ("++", "*+").
_WHOLE = r"(?:0|[1-9][0-9]*+)"
_NUMBER = rf"-?+{_WHOLE}(?:\.[0-9]++)?+(?:[eE][-+]?+[0-9]++)?+"
_PREDICTION = rf'\{{"label":"[^"\\\x00-\x1f]*+","probability":{_NUMBER}\}}'
_TIME = rf"({_WHOLE}(?:\.[0-9]{{1,3}}+)?+)"
_PLAIN = re.compile(
    rf'\{{("predictions":\[{_PREDICTION}(?:,{_PREDICTION})*+\],"model":.*)'
    rf',"timings_ms":\{{"decode":{_TIME},"preprocess":{_TIME},"inference":{_TIME}\}}\}}',
    re.DOTALL,
)


def result_text(result: Result) -> str:
    """Return the JSON text of a result. Raises ValueError for what JSON can't say (a probability that is no number)."""
    if isinstance(result, Reading):
        return result.values_json
    if isinstance(result, Summary):
        return _summary_text(result)
    fields = {
        "predictions": [{"label": p.label, "probability": p.probability} for p in result.predictions],
        "model": {
            "name": result.model.name,
            "sha256": result.model.model_sha256,
            "labels_sha256": result.model.labels_sha256,
            "runtime": result.model.runtime,
        },
        "image": {"format": result.image_format, "width": result.image_width, "height": result.image_height},
        "timings_ms": {
            "decode": result.decode_ms,
            "preprocess": result.preprocess_ms,
            "inference": result.inference_ms,
        },
    }
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def result_from_text(kind: str, text: str) -> Result:
    """Return the value that :func:`result_text` wrote."""
    if kind == Kind.READING:
        return Reading(values_json=text)
    if kind == Kind.SUMMARY:
        return _summary_from_text(text)
    fields = json.loads(text)
    model, image, timings = fields["model"], fields["image"], fields["timings_ms"]
    return Classification(
        predictions=tuple(Prediction(label=p["label"], probability=p["probability"]) for p in fields["predictions"]),
        model=ModelIdentity(
            name=model["name"],
            model_sha256=model["sha256"],
            labels_sha256=model["labels_sha256"],
            runtime=model["runtime"],
        ),
        image_format=image["format"],
        image_width=image["width"],
        image_height=image["height"],
        decode_ms=timings["decode"],
        preprocess_ms=timings["preprocess"],
        inference_ms=timings["inference"],
    )


def moment_text(moment: SummaryMoment) -> str:
    """Return when an event came in, as text: what its own row says of it."""
    is_synced = moment.clock is ClockState.SYNCED
    return json.dumps([moment.received_at.isoformat(), moment.boot, moment.boottime_s, is_synced])


def moment_from_text(text: str) -> SummaryMoment:
    """Return what was known of the moment when :func:`moment_text` wrote it."""
    wall, boot, boottime_s, is_synced = json.loads(text)
    return SummaryMoment(
        received_at=datetime.fromisoformat(wall),
        clock=ClockState.SYNCED if is_synced else ClockState.UNSYNCED,
        boot=boot,
        boottime_s=boottime_s,
    )


def _summary_text(summary: Summary) -> str:
    fields = {
        "of": summary.of_kind,
        "window_s": summary.window_s,
        "first": moment_text(summary.first),
        "last": moment_text(summary.last),
        "counts": json.loads(summary.counts_json),
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _summary_from_text(text: str) -> Summary:
    fields = json.loads(text)
    return Summary(
        of_kind=Kind(fields["of"]),
        window_s=fields["window_s"],
        first=moment_from_text(fields["first"]),
        last=moment_from_text(fields["last"]),
        counts_json=json.dumps(fields["counts"], ensure_ascii=False, separators=(",", ":")),
    )


def told_classification(text: str) -> str:
    """Return a classification's members of an item, as JSON text without braces.

    ``text`` is what :func:`result_text` wrote. Raises ValueError for anything else.
    """
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        told, decode, preprocess, inference = plain.groups()
        return f'{told},"timings":{{"decode_ms":{decode},"preprocess_ms":{preprocess},"inference_ms":{inference}}}'
    return _told_carefully(text)


def _told_carefully(text: str) -> str:
    """Return the same of whatever can be told: escapes in labels, times with more decimals, none at all."""
    told, found, timings_text = text.rpartition(_BEFORE_TIMINGS)
    if not found or not text.startswith(_BEFORE_PREDICTIONS):
        raise ValueError("not a classification as it is stored")
    predictions, _ = _DECODER.raw_decode(text, len(_BEFORE_PREDICTIONS))
    timings, _ = _DECODER.raw_decode(timings_text)
    try:
        _top_label(predictions)
        members = ",".join([f'"{name}_ms":{round(value, 3)}' for name, value in timings.items()])
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError("a classification of another shape") from error
    return f'{told[1:]},"timings":{{{members}}}'


def label_told(item_text: str) -> str | None:
    """Return the top label in an item with what :func:`told_classification` returned; None if the model said nothing.

    Assumes that the item has it behind another member, and no object before it that might have the like.
    """
    predictions, _ = _DECODER.raw_decode(item_text, item_text.index(_PREDICTIONS_TOLD) + len(_PREDICTIONS_TOLD))
    return _top_label(predictions)


def _top_label(predictions: list[dict[str, Any]]) -> str | None:
    if not predictions:
        return None
    label: str = max(predictions, key=_probability)["label"]  # the model's first of equals
    return label


def _probability(prediction: dict[str, Any]) -> float:
    probability: float = prediction["probability"]
    return probability


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)
