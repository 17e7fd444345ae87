"""How an answer says where its body ends. Pure. Each is fed with what comes and returns what of it is body."""

import re
from typing import Protocol

from adapters.camera_pull.faults import CameraFault, Reason
from adapters.camera_pull.heads import Head

# A size in hex and what chunk extensions there may be.
_CHUNK_LINE = re.compile(rb"[ \t]*(?:0x)?([0-9a-f]{1,8})[ \t]*(?:;.*)?", re.IGNORECASE)
CHUNK_LINE_BYTES_MAX = 1024


class Framing(Protocol):
    """``ended``: the framing says that this was all. ``promised_more``: the connection may not end here."""

    @property
    def ended(self) -> bool: ...

    @property
    def promised_more(self) -> bool: ...

    def feed(self, data: bytes) -> bytes:
        """Return the body in ``data``."""


def framing_of(head: Head) -> Framing:
    """Return what the head says. Chunks win over a length, as RFC 9112 section 6.3 has it."""
    if any("chunked" in value.lower() for value in head.every("transfer-encoding")):
        return Chunks()
    # Of several lengths, or something that is no number, none is believed.
    lengths = {value.strip() for value in head.every("content-length")}
    text = lengths.pop() if len(lengths) == 1 else ""
    if text.isascii() and text.isdigit() and len(text) < 16 and int(text):
        return Length(int(text))
    return UntilClose()


class UntilClose:
    """The body is what comes until the connection ends."""

    ended = False
    promised_more = False

    def feed(self, data: bytes) -> bytes:
        return data


class Length:
    """A Content-Length. What comes behind it is body too: the picture's own end decides."""

    def __init__(self, byte_count: int) -> None:
        self._left = byte_count

    @property
    def ended(self) -> bool:
        return self._left <= 0

    @property
    def promised_more(self) -> bool:
        return self._left > 0

    def feed(self, data: bytes) -> bytes:
        self._left -= len(data)
        return data


class Chunks:
    """Chunks with any line ends; a body that is not in chunks at all is passed on as it is."""

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._begun = False
        self._plain = False
        self.ended = False

    @property
    def promised_more(self) -> bool:
        return not self.ended and not self._plain

    def feed(self, data: bytes) -> bytes:
        if self._plain or self.ended:
            return b"" if self.ended else data
        buffer = self._buffer + data
        body, at = [], 0
        while at < len(buffer) and not self.ended:
            if self._left:
                body.append(buffer[at : at + self._left])
                at += len(body[-1])
                self._left -= len(body[-1])
                continue
            behind = self._next_chunk(buffer, at)
            if behind is None:
                break
            at = behind
        self._buffer = buffer[at:]
        return b"".join(body) + self._plain_body()

    def _plain_body(self) -> bytes:
        if not self._plain:
            return b""
        body, self._buffer = self._buffer, b""
        return body

    def _next_chunk(self, buffer: bytes, at: int) -> int | None:
        """Read a chunk's line at ``at`` and return where its data begin; None while it is not whole, or is none."""
        if self._begun and buffer[at : at + 1] in {b"\r", b"\n"}:
            return at + 1  # the end of the last chunk
        end = buffer.find(b"\n", at, at + CHUNK_LINE_BYTES_MAX)
        line = buffer[at:end] if end >= 0 else buffer[at : at + CHUNK_LINE_BYTES_MAX]
        found = _CHUNK_LINE.fullmatch(line.rstrip(b"\r"))
        if end >= 0 and found is not None:
            self._begun = True
            self._left = int(found[1], 16)
            self.ended = self._left == 0
            return end + 1
        if end < 0 and len(line) < CHUNK_LINE_BYTES_MAX and _CHUNK_LINE.match(line):
            return None
        if self._begun:
            raise CameraFault(Reason.TRUNCATED, "its chunks are damaged")
        self._plain = True
        return None
