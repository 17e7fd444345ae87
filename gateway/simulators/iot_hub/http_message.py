"""One HTTP/1.1 request a connection, read and answered: as much as the stand-ins' views and sockets need."""

import asyncio
import json
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

_BODY_BYTES_MAX = 1024 * 1024
_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``path`` as sent, percent-encoding and all."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    body: bytes
    status: int = 200
    content_type: str = _JSON


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Return the request. Raises ValueError for what is none, and asyncio's errors for a stream that ends."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *header_lines = head.split("\r\n")
    method, target, _ = request_line.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in header_lines)}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= _BODY_BYTES_MAX:
        raise ValueError("the body is too large")
    url = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    return Request(method=method, path=url.path, query=query, body=await reader.readexactly(length))


def encode(response: Response) -> bytes:
    """Return the bytes; the connection is closed behind them."""
    head = (
        f"HTTP/1.1 {response.status} -\r\nContent-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + response.body


def json_response(value: object, *, status: int = 200) -> Response:
    """Return JSON."""
    return Response(body=json.dumps(value).encode(), status=status)
