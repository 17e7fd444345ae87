"""The OpenAPI document: bodies are read by hand, so their description is written by hand too. Pure.

OpenAPI 3.0.3, not 3.1: the bundled Swagger UI 4 draws nothing newer. A test compares it with the routes.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from adapters.http import paths

VERSION = "3.0.3"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of one path."""

    method: str
    path: str
    tag: str
    summary: str
    responses: dict[int, Json]
    description: str = ""
    parameters: list[Json] = field(default_factory=list)
    body: Json | None = None

    @property
    def documented_path(self) -> str:
        """The path template without Starlette's convertors."""
        return self.path.replace(":path}", "}")

    def described(self) -> Json:
        """Return the operation object."""
        words = [word for word in self.path.replace(".", "").translate(_NO_BRACES).split("/") if word]
        return {
            "operationId": "_".join([self.method, *(words or ["banner"])]),
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            "parameters": self.parameters,
            **({} if self.body is None else {"requestBody": self.body}),
            "responses": {str(status): answer for status, answer in self.responses.items()},
        }


_NO_BRACES = str.maketrans("", "", "{}")


def document(*, server_url: str, version: str) -> Json:
    """Return the document; ``server_url`` is where devices call."""
    listed: dict[str, Json] = {}
    for operation in operations():
        listed.setdefault(operation.documented_path, {})[operation.method] = operation.described()
    return {
        "openapi": VERSION,
        "info": {
            "title": "gateway-bridge",
            "version": version,
            "description": "Pictures and readings in; answers are sent when the result is on disk.",
        },
        "servers": [{"url": server_url}],
        "paths": listed,
        "components": components(),
    }


def operations() -> tuple[Operation, ...]:
    """Return every operation in the order of the page."""
    return (
        native_images(),
        native_readings(),
        native_event(),
        *(
            replace(custom_vision_image(path), method=method)
            for path in paths.custom_vision_paths("image")
            for method in ("post", "put")
        ),
        *(custom_vision_url(path) for path in paths.custom_vision_paths("url")),
        banner(),
        alive(),
        ready(),
    )


def custom_vision_image(path: str) -> Operation:
    """Describe a Custom Vision route that takes a picture."""
    return Operation(
        method="post",
        path=path,
        tag="Custom Vision",
        summary="Classify a picture",
        description="Answers when the result is on disk. The picture is recognised by its content; it is not stored.",
        parameters=_custom_vision_parameters(path),
        body=_picture_body(),
        responses=_custom_vision_responses(path, {400, 413, 415, 422, 503}),
    )


def custom_vision_url(path: str) -> Operation:
    """Describe a Custom Vision route that takes the URL of a picture."""
    return Operation(
        method="post",
        path=path,
        tag="Custom Vision",
        summary="Classify the picture behind a URL",
        description="Off unless http.url_fetch.allowed_hosts names the host.",
        parameters=_custom_vision_parameters(path),
        body={"required": True, "content": {"application/json": {"schema": _ref("PictureUrl")}}},
        responses=_custom_vision_responses(path, {400, 403, 413, 415, 422, 503}),
    )


def native_images() -> Operation:
    """Describe ``POST /v1/devices/{device_id}/images``."""
    return Operation(
        method="post",
        path=paths.IMAGES,
        tag="Native",
        summary="Submit a picture",
        description="Answers when the result is on disk. The same Idempotency-Key with the same bytes returns the "
        "first receipt; with other bytes it is refused (422).",
        parameters=[_DEVICE_ID, *_SUBMISSION_PARAMETERS],
        body=_picture_body(),
        responses=_native_responses("ImageReceipt", {400, 413, 415, 422, 503}),
    )


def native_readings() -> Operation:
    """Describe ``POST /v1/devices/{device_id}/readings``."""
    content = {
        "application/json": {"schema": {"oneOf": [_ref("Reading"), _ref("ReadingArray")]}},
        "application/senml+json": {"schema": _ref("ReadingArray")},
    }
    return Operation(
        method="post",
        path=paths.READINGS,
        tag="Native",
        summary="Submit readings",
        description="One JSON object, or an array that is stored as a whole or not at all, its ids suffixed /0, /1 "
        "and so on. SenML (RFC 8428) records are resolved.",
        parameters=[_DEVICE_ID, *_SUBMISSION_PARAMETERS],
        body={"required": True, "content": content},
        responses=_native_responses("ReadingsReceipt", {400, 413, 422, 503}),
    )


def native_event() -> Operation:
    """Describe ``GET /v1/devices/{device_id}/events/{submission_id}``."""
    submission = _path_parameter("submission_id", "The submission_id, with /n for an element of an array")
    return Operation(
        method="get",
        path=paths.EVENT,
        tag="Native",
        summary="Read a committed event",
        parameters=[_DEVICE_ID, submission],
        responses=_native_responses("Event", {400, 404}),
    )


def banner() -> Operation:
    """Describe ``GET /``."""
    responses = {200: _answer("What this is", "text/plain")}
    return Operation(method="get", path=paths.BANNER, tag="Probes", summary="Banner", responses=responses)


def alive() -> Operation:
    """Describe ``GET /healthz``."""
    responses = {200: _answer("The process is alive", "application/json", _ref("Alive"))}
    return Operation(method="get", path=paths.HEALTHZ, tag="Probes", summary="Liveness", responses=responses)


def ready() -> Operation:
    """Describe ``GET /readyz``."""
    responses = {
        200: _answer("The gateway accepts and commits", "application/json", _ref("Readiness")),
        503: _answer("It does not, and why", "application/json", _ref("Readiness")),
    }
    return Operation(method="get", path=paths.READYZ, tag="Probes", summary="Readiness", responses=responses)


def components() -> Json:
    """Return the schemas that the operations refer to."""
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    classification = {
        "predictions": _array(_object({"label": _TEXT, "probability": probability})),
        "model": _object(dict.fromkeys(("name", "model_sha256", "labels_sha256", "runtime"), _TEXT)),
        "image": _object({"format": _TEXT, "width": _COUNT, "height": _COUNT}),
        "timings": _object(dict.fromkeys(("decode_ms", "preprocess_ms", "inference_ms"), _MILLISECONDS)),
    }
    receipt = {
        "submission_id": _TEXT,
        "device_id": _TEXT,
        "sequence": _COUNT,
        "epoch": _TEXT,
        "duplicate": {"type": "boolean"},
        "received_at": _TIME,
        "clock": {"type": "string", "enum": ["synced", "unsynced"]},
    }
    custom_vision_prediction = {
        "boundingBox": {"type": "object", "nullable": True},
        "probability": probability,
        "tagId": _TEXT,
        "tagName": _TEXT,
    }
    schemas = {
        "CustomVisionAnswer": _object(
            {
                "created": {"type": "string", "description": "UTC, without a zone"},
                "id": _TEXT,
                "iteration": _TEXT,
                "predictions": _array(_object(custom_vision_prediction)),
                "project": _TEXT,
            }
        ),
        "CustomVisionError": _object({"code": _TEXT, "message": _TEXT}),
        "ImageReceipt": _object(receipt | classification),
        "ReadingsReceipt": _object(receipt | {"items": _array(_object({"id": _TEXT, "sequence": _COUNT}))}),
        "Event": _event(classification),
        "Reading": {"type": "object", "minProperties": 1, "additionalProperties": True},
        "ReadingArray": {"type": "array", "minItems": 1, "maxItems": 256, "items": _ref("Reading")},
        "PictureUrl": _object({"url": {"type": "string", "maxLength": 2048}}),
        "Problem": _object(
            {"type": _TEXT, "title": _TEXT, "status": _COUNT, "detail": _TEXT, "reason": _TEXT},
            optional={"hint": _TEXT, "retry_after_s": {"type": "number"}, "reference": _TEXT},
        ),
        "Alive": _object({"alive": {"type": "boolean"}}),
        "Readiness": _object({"ready": {"type": "boolean"}, "obstacles": _array(_TEXT)}),
    }
    return {"schemas": schemas}


_TEXT: Json = {"type": "string"}
_TIME: Json = {"type": "string", "format": "date-time"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_MILLISECONDS: Json = {"type": "number", "minimum": 0}

_REASONS = {
    400: "The request around the payload is wrong",
    403: "URLs are not fetched, or not this one",
    404: "There is no such event",
    413: "Too many bytes or pixels",
    415: "Not a picture",
    422: "The payload can't be used",
    503: "Send the same again after Retry-After seconds",
}


def _path_parameter(name: str, description: str) -> Json:
    schema = _TEXT | {"minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _parameter(name: str, where: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": where, "required": False, "description": description, "schema": schema}


_ID = {"type": "string", "pattern": "^[A-Za-z0-9._:@-]{1,128}$"}
_DEVICE_ID: Json = {
    "name": "device_id",
    "in": "path",
    "required": True,
    "description": "Who sends",
    "schema": _ID,
}
_SUBMISSION_PARAMETERS: list[Json] = [
    _parameter(
        "Idempotency-Key",
        "header",
        "The device's own id of this submission: the same again is recognised",
        {"type": "string", "pattern": "^[!-.0-~]{1,128}$"},
    ),
    _parameter("X-Captured-At", "header", "RFC 3339, with an offset", _TIME),
    _parameter("captured_at", "query", "The same, where headers can't be set", _TIME),
]


def _custom_vision_parameters(path: str) -> list[Json]:
    named = [
        _path_parameter(name, "Accepted and not looked at") for name in ("project", "name") if f"{{{name}}}" in path
    ]
    device = [
        _parameter("device", "query", "Who sends; else X-Device-Id, else the address", _ID),
        _parameter("X-Device-Id", "header", "Who sends", _ID),
    ]
    return [*named, *device, *_SUBMISSION_PARAMETERS]


def _picture_body() -> Json:
    binary = _TEXT | {"format": "binary"}
    form = {"type": "object", "properties": {"imageData": binary}, "required": ["imageData"]}
    content = {
        "application/octet-stream": {"schema": binary},
        "image/*": {"schema": binary},
        "multipart/form-data": {"schema": form},
    }
    return {
        "required": True,
        "description": "JPEG, PNG, BMP, GIF or WebP, whatever the Content-Type",
        "content": content,
    }


def _custom_vision_responses(path: str, statuses: set[int]) -> dict[int, Json]:
    hosted = path.startswith("/customvision/")
    refusal = ("application/json", _ref("CustomVisionError")) if hosted else ("text/plain", _TEXT)
    return {
        200: _answer("The model's answer, on disk", "application/json", _ref("CustomVisionAnswer")),
        **{status: _answer(_REASONS[status], *refusal) for status in sorted(statuses)},
    }


def _native_responses(schema: str, statuses: set[int]) -> dict[int, Json]:
    problem = ("application/problem+json", _ref("Problem"))
    return {
        200: _answer("Done", "application/json", _ref(schema)),
        **{status: _answer(_REASONS[status], *problem) for status in sorted(statuses)},
    }


def _event(classification: Json) -> Json:
    always = {
        "submission_id": _TEXT,
        "id": _TEXT,
        "device_id": _TEXT,
        "sequence": _COUNT,
        "epoch": _TEXT,
        "kind": {"type": "string", "enum": ["classification", "reading", "summary"]},
        "state": {"type": "string", "enum": ["pending", "delivered", "dead", "filtered", "summarised"]},
        "dead_reason": _TEXT | {"nullable": True},
        "transport": _TEXT,
        "received_at": _TIME,
        "clock": {"type": "string", "enum": ["synced", "corrected", "unsynced"]},
        "captured_at": _TIME | {"nullable": True},
        "payload_sha256": _TEXT,
        "payload_bytes": _COUNT,
        "id_reused": {"type": "boolean"},
    }
    return _object(always, optional=classification | {"values": {"type": "object"}, "summary": {"type": "object"}})


def _answer(description: str, media_type: str, schema: Json | None = None) -> Json:
    return {"description": description, "content": {media_type: {"schema": schema or _TEXT}}}


def _object(properties: Json, *, optional: Json | None = None) -> Json:
    return {"type": "object", "properties": properties | (optional or {}), "required": list(properties)}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
