"""One connection's bytes inside TLS: plain MQTT, or MQTT in websocket frames, told apart by the first byte."""

import asyncio
import contextlib
import socket
import struct
from typing import Protocol

from gateway.simulators.iot_hub import websocket_wire

_READ_BYTES = 64 * 1024


class ByteStream(Protocol):
    """What an MQTT session needs of its connection."""

    async def read(self) -> bytes:
        """Return some bytes; empty at the end."""

    def write(self, data: bytes) -> None:
        """Queue bytes."""


class PlainStream:
    """MQTT straight inside TLS. ``first`` is what was read to find that out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes) -> None:
        self._reader, self._writer, self._first = reader, writer, first

    async def read(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        return await self._reader.read(_READ_BYTES)

    def write(self, data: bytes) -> None:
        self._writer.write(data)


class WebSocketStream:
    """MQTT in binary websocket frames, whose borders mean nothing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes) -> None:
        self._reader, self._writer, self._pending = reader, writer, first
        self._decoder = websocket_wire.FrameDecoder()

    async def read(self) -> bytes:
        while True:
            data = self._pending or await self._reader.read(_READ_BYTES)
            self._pending = b""
            if not data:
                return b""
            received = self._decoder.feed(data)
            self._writer.write(bytes(received.answers))
            if received.payload or received.closed:
                return bytes(received.payload)

    def write(self, data: bytes) -> None:
        self._writer.write(websocket_wire.frame(data))


async def open_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> ByteStream | None:
    """Return the stream for what the peer speaks, or None if it left. Raises MalformedFrame."""
    first = await reader.read(_READ_BYTES)
    if not first:
        return None
    if not first.startswith(b"G"):
        return PlainStream(reader, writer, first)
    while b"\r\n\r\n" not in first:
        first += (more := await reader.read(_READ_BYTES))
        if not more or len(first) > _READ_BYTES:
            return None
    head, _, rest = first.partition(b"\r\n\r\n")
    writer.write(websocket_wire.upgrade_response(head))
    return WebSocketStream(reader, writer, rest)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP RST, dropping what is unread and unsent."""
    with contextlib.suppress(OSError):  # it is closed already
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
