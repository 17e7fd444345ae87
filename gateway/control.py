"""The control socket: how commands that change something reach the running gateway.

A Unix socket in the data directory, mode 0600: who may write there may command.
One request and one answer per connection, each a line of JSON. The outbox file
has one owner, so a command line never writes to it while a gateway runs.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from gateway.errors import GatewayError, OperatorError

log = structlog.get_logger(__name__)

SOCKET_NAME = "control.sock"
# The ranges of a bundle are the longest: 5000 of them, and as many tombstones.
REQUEST_BYTES_MAX = 512 * 1024
REQUEST_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0

# The values are JSON documents: this is the one place where dicts cross, between two processes.
Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


@contextlib.contextmanager
def _short_path(data_dir: Path) -> Iterator[str]:
    # sun_path holds 108 bytes (unix(7)); a data directory may be deeper, its descriptor's path is not.
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


class ControlServer:
    """Serves the handlers by command name. The caller holds the lock of the data directory."""

    def __init__(self, data_dir: Path, handlers: Mapping[str, Handler]) -> None:
        self._data_dir = data_dir
        self._handlers = handlers
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; a socket that a killed gateway left behind is replaced."""
        (self._data_dir / SOCKET_NAME).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)  # noqa: FBT003  the name of the standard library
        with _short_path(self._data_dir) as path:
            old_mask = os.umask(0o177)
            try:
                listener.bind(path)
            finally:
                os.umask(old_mask)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=REQUEST_BYTES_MAX)

    async def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._server is not None:
            self._server.close()
            (self._data_dir / SOCKET_NAME).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                line = await reader.readline()
            answer = await self._answer(line)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            log.info("control_request_failed", error=str(error))
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Mapping[str, Any]:
        try:
            request = json.loads(line)
            handler = self._handlers[request["command"]]
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"not a request this gateway knows: {error}"}
        try:
            return {"result": await handler(request.get("arguments", {}))}
        except GatewayError as error:
            return {"error": str(error)}


def ask_running_gateway(
    data_dir: Path, command: str, arguments: Mapping[str, Any] | None = None
) -> Mapping[str, Any] | None:
    """Return the running gateway's answer, or None when none runs there. Raises OperatorError for its refusal."""
    request = json.dumps({"command": command, "arguments": dict(arguments or {})}).encode() + b"\n"
    try:
        with _short_path(data_dir) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(ANSWER_TIMEOUT_S)
            client.connect(path)
            client.sendall(request)
            answer = json.loads(client.makefile("rb").readline() or b"{}")
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return None
    if "error" in answer:
        raise OperatorError(f"the running gateway refused: {answer['error']}")
    result: Mapping[str, Any] = answer.get("result", {})
    return result
