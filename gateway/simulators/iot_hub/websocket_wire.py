"""Websocket frames as a server sees them: bytes in, payload out. Pure.

Source: RFC 6455. Enough for MQTT: binary and continuation frames, ping, close. What is inside is a byte stream.
"""

import base64
import hashlib
import struct
from dataclasses import dataclass, field

PATH = "/$iothub/websocket"
SUBPROTOCOL = "mqtt"
FRAME_BYTES_MAX = 1024 * 1024
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10


class MalformedFrame(ValueError):
    """Not a websocket upgrade to IoT Hub, or a frame that breaks RFC 6455."""


@dataclass(slots=True)
class Received:
    """What some bytes held: stream bytes, answers to write (pong, close), and whether the peer closed."""

    payload: bytearray = field(default_factory=bytearray)
    answers: bytearray = field(default_factory=bytearray)
    closed: bool = False


def upgrade_response(request: bytes) -> bytes:
    """Return the 101 answer to an upgrade request (its head, up to the empty line). Raises MalformedFrame."""
    lines = request.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if lines[0].split(" ")[:2] != ["GET", PATH]:
        raise MalformedFrame(f"IoT Hub's path is {PATH}")
    if SUBPROTOCOL not in [offer.strip() for offer in headers.get("sec-websocket-protocol", "").split(",")]:
        raise MalformedFrame(f"IoT Hub's subprotocol is {SUBPROTOCOL}")
    key = headers.get("sec-websocket-key", "").encode()
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    ).encode()


def frame(payload: bytes, *, opcode: int = _BINARY) -> bytes:
    """Return one unmasked frame, as servers send them."""
    first = 0x80 | opcode
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


class FrameDecoder:
    """Cuts a byte stream, split anywhere, into frames and unmasks them."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Received:
        """Return what is complete now. Raises MalformedFrame."""
        self._buffer += data
        received = Received()
        while (cut := _frame_end(self._buffer)) is not None:
            start, end = cut
            payload = _unmask(bytes(self._buffer[start - 4 : start]), bytes(self._buffer[start:end]))
            _sort(self._buffer[0] & 0x0F, payload, received)
            del self._buffer[:end]
        return received


def _sort(opcode: int, payload: bytes, received: Received) -> None:
    if opcode in (_CONTINUATION, _BINARY):
        received.payload += payload
    elif opcode == _PING:
        received.answers += frame(payload, opcode=_PONG)
    elif opcode == _CLOSE:
        received.answers += frame(payload, opcode=_CLOSE)
        received.closed = True
    elif opcode != _PONG:
        raise MalformedFrame(f"opcode {opcode} has no place in MQTT over websockets")


def _frame_end(buffer: bytearray) -> tuple[int, int] | None:
    """Return where the first frame's payload starts and ends, or None while it is incomplete."""
    if len(buffer) < 2:
        return None
    if not buffer[1] & 0x80:
        raise MalformedFrame("a client's frame must be masked")
    extended = {126: 2, 127: 8}.get(buffer[1] & 0x7F, 0)
    start = 2 + extended + 4
    if len(buffer) < start:
        return None
    length = int.from_bytes(buffer[2 : 2 + extended], "big") if extended else buffer[1] & 0x7F
    if length > FRAME_BYTES_MAX:
        raise MalformedFrame(f"a frame of {length} bytes")
    return (start, start + length) if start + length <= len(buffer) else None


def _unmask(mask: bytes, payload: bytes) -> bytes:
    # XOR of two big integers: a byte-wise loop costs a hundred times more.
    stretched = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")).to_bytes(len(payload), "big")
