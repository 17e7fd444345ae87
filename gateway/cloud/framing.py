"""How the gateway and its SDK process cut their byte stream: lengths, a JSON header, a raw body. Pure.

::

    4 bytes  length of the header, big-endian
    4 bytes  length of the body, big-endian
    header   a JSON object, UTF-8
    body     bytes as they are: message bodies are never escaped or copied into JSON

Both ends are ours and from the same installation, so there is no version field. A stream that breaks the limits is
useless from there on: :class:`BrokenStream`, and the process at the other end is replaced.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

# The largest header is a message's properties (16 KiB before JSON escapes them) with room to spare.
HEADER_BYTES_MAX = 256 * 1024
# IoT Hub takes 256 KB; cloud-to-device messages are smaller.
BODY_BYTES_MAX = 512 * 1024

_LENGTHS = struct.Struct("!II")
# Made once: json.dumps with options makes a new encoder for each call.
_ENCODER = json.JSONEncoder(separators=(",", ":"))


class BrokenStream(ValueError):
    """The bytes are not frames within the limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One message between the two processes."""

    header: dict[str, Any]
    body: bytes = b""


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame. Raises BrokenStream if it is larger than a decoder takes."""
    header = _ENCODER.encode(frame.header).encode()
    _check(len(header), len(frame.body))
    return _LENGTHS.pack(len(header), len(frame.body)) + header + frame.body


class FrameDecoder:
    """Cuts a byte stream, split anywhere, into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete now. Raises BrokenStream; the decoder is then useless."""
        self._buffer += data
        frames = []
        start = 0
        while (end := self._end_of_frame(start)) is not None:
            frames.append(self._frame(start, end))
            start = end
        del self._buffer[:start]  # once for all frames: each cut moves what follows it
        return frames

    def _end_of_frame(self, start: int) -> int | None:
        if len(self._buffer) - start < _LENGTHS.size:
            return None
        header_bytes, body_bytes = _LENGTHS.unpack_from(self._buffer, start)
        _check(header_bytes, body_bytes)
        end: int = start + _LENGTHS.size + header_bytes + body_bytes
        return end if end <= len(self._buffer) else None

    def _frame(self, start: int, end: int) -> Frame:
        header_bytes, _ = _LENGTHS.unpack_from(self._buffer, start)
        header_at = start + _LENGTHS.size
        body_at = header_at + header_bytes
        try:
            header = json.loads(self._buffer[header_at:body_at])
        except ValueError as error:
            raise BrokenStream("a header is not JSON") from error
        if not isinstance(header, dict):
            raise BrokenStream("a header is not a JSON object")
        return Frame(header=header, body=bytes(self._buffer[body_at:end]))


def _check(header_bytes: int, body_bytes: int) -> None:
    if header_bytes > HEADER_BYTES_MAX or body_bytes > BODY_BYTES_MAX:
        raise BrokenStream(f"a frame of {header_bytes} + {body_bytes} bytes")
