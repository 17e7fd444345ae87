"""How an answer looks to each kind of client, and the frame around every endpoint.

Owns: error → response for the three faces, draining before a refusal, the count of answers.
"""

import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from functools import partial

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from adapters.http import documents
from adapters.http.body import Body
from adapters.http.paths import is_hosted, is_native
from adapters.http.refusals import MethodNotAllowed, RouteUnknown
from gateway.errors import NotAuthenticated, SubmissionError, Unavailable
from gateway.ports import Meter

log = structlog.get_logger(__name__)

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
TEXT = "text/plain; charset=utf-8"
# nginx's "client closed request": it is never sent, only counted.
CLIENT_GONE = 499

Handler = Callable[[Request, Body], Awaitable[Response]]
Refusal = Callable[[SubmissionError], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


class Face(Enum):
    """What a client of a route expects to read when it is refused."""

    NATIVE = "native"  # RFC 9457
    LEGACY = "legacy"  # text, as the container answers
    CLOUD = "cloud"  # JSON of the hosted Custom Vision API, which its SDK parses

    @classmethod
    def of_path(cls, path: str) -> "Face":
        """Return the face of a path, known or not."""
        if is_native(path):
            return cls.NATIVE
        return cls.CLOUD if is_hosted(path) else cls.LEGACY


class InternalError(SubmissionError):
    """A bug of ours. Neither Rejected nor Unavailable: nobody knows whether sending again would help."""

    reason = "internal_error"
    http_status = 500
    hint = "the gateway's log holds the error under the reference given"


def json_answer(document: documents.Document, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return ``document`` as a response with its length."""
    return Response(documents.encoded(document), status, headers=headers, media_type=JSON)


def refusal(error: SubmissionError, face: Face, *, reference: str | None = None) -> Response:
    """Return ``error`` as ``face`` reads it; Unavailable carries Retry-After in whole seconds, at least one."""
    headers: dict[str, str] = {}
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, NotAuthenticated):
        # RFC 9110 section 11.6.1: a 401 says how to prove it. UTF-8: RFC 7617 section 2.1.
        headers["www-authenticate"] = 'Basic realm="gateway", charset="UTF-8", Bearer realm="gateway"'
    if face is Face.NATIVE:
        body = documents.encoded(documents.problem(error, reference=reference))
        return Response(body, error.http_status, headers=headers, media_type=PROBLEM_JSON)
    if face is Face.CLOUD:
        return json_answer(documents.custom_vision_error(error), error.http_status, headers)
    text = documents.problem_text(error, reference=reference)
    return Response(text, error.http_status, headers=headers, media_type=TEXT)


def endpoint(handler: Handler, *, route: str, meter: Meter, told: Refusal | None = None) -> Endpoint:
    """Return ``handler`` with its refusals answered in the route's way and everything counted under its template.

    ``told`` makes the answer to a refusal; None: as the path's clients expect it.
    """
    answered = told or partial(refusal, face=Face.of_path(route))

    async def answer(request: Request) -> Response:
        body = Body(request)
        try:
            body.check_allowed(request.method)
            response = await handler(request, body)
        except SubmissionError as error:
            response = await _refuse(error, answered, body)
        except ClientDisconnect:
            response = Response(status_code=CLIENT_GONE)
        meter.count("gateway_http_requests_total", route=route, status=str(response.status_code))
        return response

    return answer


async def _refuse(error: SubmissionError, told: Refusal, body: Body) -> Response:
    try:
        drained = await body.drain()
    except ClientDisconnect:
        return Response(status_code=CLIENT_GONE)
    response = told(error)
    if not drained:
        response.headers["connection"] = "close"
    return response


class Strays:
    """Answers requests that reach no endpoint, and errors that no endpoint expected, and counts them."""

    def __init__(self, *, meter: Meter) -> None:
        self._meter = meter

    async def unrouted(self, request: Request, error: Exception) -> Response:
        """Answer Starlette's 404 and 405 in the words of the path's clients."""
        allow = (getattr(error, "headers", None) or {}).get("Allow")
        path = request.url.path
        told: SubmissionError
        if allow is None:
            told = RouteUnknown(f"there is nothing at {path[:128]!a}")
        else:
            told = MethodNotAllowed(f"this path takes {allow}")
        response = refusal(told, Face.of_path(path))
        if allow is not None:
            response.headers["allow"] = allow
        self._meter.count("gateway_http_requests_total", route="unmatched", status=str(response.status_code))
        return response

    async def unexpected(self, request: Request, error: Exception) -> Response:
        """Answer an error that no endpoint expected."""
        self._meter.count("gateway_http_requests_total", route="unexpected", status="500")
        return await unexpected(request, error)


async def unexpected(request: Request, error: Exception) -> Response:
    """Answer 500 with a reference, and log the error under it (the server's own log of it is off)."""
    reference = secrets.token_hex(6)
    path = request.url.path
    log.error("http_internal_error", reference=reference, path=path[:128], exc_info=error)
    response = refusal(InternalError("the gateway failed"), Face.of_path(path), reference=reference)
    # Starlette raises the error again and uvicorn then hangs up: without this, a client would reuse the connection.
    response.headers["connection"] = "close"
    return response
