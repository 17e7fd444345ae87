"""The HTTP/JSON view: what arrived, the fault switches, messages to devices; and one page for people.

Loopback only, no authentication: it is the remote control of a stand-in.

========  ==========  =========================================================================
GET       /           a page
GET       /messages   {"messages": [...], "refused": [...]}; ``?device=gw1`` chooses one
DELETE    /messages   forget what was received
GET       /bytes      every byte received inside TLS (409 if the capture had to be cut)
GET/POST  /faults     all switches; POST sets those named and clears the others
POST      /c2d        {"device_id", "body": text or JSON, "properties": {...}}
POST      /kick       drop every connection
GET       /state      connected devices, counts, why the last connection ended
========  ==========  =========================================================================
"""

import asyncio
import json
from html import escape
from typing import Any, Protocol

from gateway.simulators.iot_hub import faults as fault_switches
from gateway.simulators.iot_hub.devices import Device
from gateway.simulators.iot_hub.faults import Faults
from gateway.simulators.iot_hub.http_message import Request, Response, encode, json_response, read_request
from gateway.simulators.iot_hub.record import Record

_HEAD_TIMEOUT_S = 10.0
_PAGE_ROWS = 100


class Hub(Protocol):
    """What the view shows and switches."""

    hostname: str
    devices: dict[str, Device]
    record: Record
    faults: Faults
    connections_total: int
    last_refusal: str

    @property
    def connected(self) -> tuple[str, ...]: ...

    def kick(self) -> None: ...

    def send_to_device(self, client_id: str, body: bytes, properties: dict[str, str]) -> None: ...


class HttpView:
    """A one-request-per-connection HTTP/1.1 server."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Return when it listens; ``port`` then holds the real one."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Return when it has let go of every connection."""
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                request = await read_request(reader)
            writer.write(encode(self._answer(request)))
            await writer.drain()
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a broken request of a person at a desk: closing is answer enough
        except asyncio.CancelledError:
            pass  # raised on, the stream server of Python 3.11 would log it as an unhandled error
        finally:
            self._tasks.discard(task)
            writer.close()

    def _answer(self, request: Request) -> Response:
        try:
            return self._route(request)
        except (ValueError, KeyError, TypeError) as error:
            return json_response({"error": str(error)}, status=400)

    def _route(self, request: Request) -> Response:
        places = {
            ("GET", "/"): self._show_page,
            ("GET", "/messages"): self._messages,
            ("DELETE", "/messages"): self._forget,
            ("GET", "/bytes"): self._bytes,
            ("GET", "/faults"): self._faults,
            ("POST", "/faults"): self._faults,
            ("POST", "/c2d"): self._cloud_to_device,
            ("POST", "/kick"): self._kick,
            ("GET", "/state"): self._state,
        }
        answer = places.get((request.method, request.path))
        if answer is None:
            there_are = [f"{method} {path}" for method, path in places]
            return json_response({"error": "no such place", "places": there_are}, status=404)
        return answer(request)

    def _show_page(self, _request: Request) -> Response:
        return Response(body=_page(self._hub).encode(), content_type="text/html; charset=utf-8")

    def _forget(self, _request: Request) -> Response:
        self._hub.record.clear()
        return json_response({})

    def _bytes(self, _request: Request) -> Response:
        record = self._hub.record
        status = 409 if record.capture_cut else 200
        return Response(body=bytes(record.captured), status=status, content_type="application/octet-stream")

    def _kick(self, _request: Request) -> Response:
        self._hub.kick()
        return json_response({})

    def _state(self, _request: Request) -> Response:
        return json_response(_state(self._hub))

    def _messages(self, request: Request) -> Response:
        record = self._hub.record
        device = request.query.get("device")
        chosen = [m.to_json() for m in record.messages if device in (None, m.client_id)]
        refused = [m.to_json() for m in record.refused if device in (None, m.client_id)]
        return json_response({"messages": chosen, "refused": refused})

    def _faults(self, request: Request) -> Response:
        if request.method == "POST":
            self._hub.faults = fault_switches.from_json(json.loads(request.body or b"{}"))
        return json_response(fault_switches.to_json(self._hub.faults))

    def _cloud_to_device(self, request: Request) -> Response:
        message = json.loads(request.body)
        body = message.get("body", "")
        text = body if isinstance(body, str) else json.dumps(body)
        properties = {str(name): str(value) for name, value in message.get("properties", {}).items()}
        self._hub.send_to_device(message["device_id"], text.encode(), properties)
        return json_response({})


def _state(hub: Hub) -> dict[str, Any]:
    return {
        "hostname": hub.hostname,
        "devices": sorted(hub.devices),
        "connected": list(hub.connected),
        "connections_total": hub.connections_total,
        "messages": len(hub.record.messages),
        "refused": len(hub.record.refused),
        "last_refusal": hub.last_refusal,
    }


def _page(hub: Hub) -> str:
    state = "".join(f"<li>{escape(name)}: {escape(str(value))}</li>" for name, value in _state(hub).items())
    switched = ", ".join(f"{name}={value}" for name, value in fault_switches.to_json(hub.faults).items() if value)
    rows = "".join(_row(message.to_json()) for message in reversed(hub.record.messages[-_PAGE_ROWS:]))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="3">'
        "<title>IoT Hub stand-in</title>"
        "<style>body{font:15px/1.4 sans-serif;margin:2em}td,th{padding:.3em .8em;text-align:left;"
        "vertical-align:top;border-bottom:1px solid #ddd}pre{margin:0;white-space:pre-wrap}</style>"
        f"<h1>IoT Hub stand-in</h1><ul>{state}<li>faults: {escape(switched or 'none')}</li></ul>"
        f"<h2>The last {_PAGE_ROWS} messages, newest first</h2>"
        f"<table><tr><th>received<th>device<th>message id<th>properties<th>body</tr>{rows}</table></html>"
    )


def _row(message: dict[str, Any]) -> str:
    body = json.dumps(message["body"], indent=1)
    cells = (message["received_at"], message["device_id"], message["message_id"], json.dumps(message["properties"]))
    return "<tr>" + "".join(f"<td>{escape(cell)}" for cell in cells) + f"<td><pre>{escape(body)}</pre></tr>"
