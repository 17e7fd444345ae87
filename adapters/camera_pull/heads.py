"""The head of an answer, read as cameras write it. Pure: bytes in, a head out.

Taken as they come: bare LF (also mixed with CRLF), ``ICY`` and other names for HTTP, no reason phrase, lines without a
colon, spaces before it, names of any form, folded lines, several of one name, control characters, empty lines before
the head, and no head at all before a picture (HTTP/0.9). Bounded by ``HEAD_BYTES_MAX``.
"""

import re
from dataclasses import dataclass

from adapters.camera_pull.faults import CameraFault, Reason
from adapters.camera_pull.picture_end import is_picture
from gateway.identifiers import shortened

HEAD_BYTES_MAX = 32 * 1024
# Nor may a realm carry a line break into our next request.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"(?:HTTP|ICY|RTSP)[/0-9.]*[ \t]*([1-5][0-9]{2})(?![0-9])", re.IGNORECASE)
_PROTOCOLS = (b"HTTP", b"ICY", b"RTSP")
# As many bytes as tell HTTP, and every kind of picture, from anything else.
_TELLING_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """``headers`` in the answer's order, names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()

    def first(self, name: str) -> str:
        """Return the first value of that name, or an empty text."""
        return next((value for known, value in self.headers if known == name), "")

    def every(self, name: str) -> tuple[str, ...]:
        return tuple(value for known, value in self.headers if known == name)


class HeadReader:
    """Fed until it returns a head; ``rest`` is what came behind it."""

    def __init__(self) -> None:
        self._buffer = b""
        self._taken = 0
        self.rest = b""

    def feed(self, data: bytes) -> Head | None:
        """Return the head once it is whole. Raises CameraFault for what is none."""
        self._taken += len(data)
        self._buffer = (self._buffer + data).lstrip(b"\r\n")
        head = self._next()
        while head is not None and head.status < 200:
            self._buffer = self.rest.lstrip(b"\r\n")
            head = self._next()
        if head is None and self._taken > HEAD_BYTES_MAX:
            raise CameraFault(Reason.NOT_HTTP, f"the head of its answer has more than {HEAD_BYTES_MAX} bytes")
        return head

    def _next(self) -> Head | None:
        """Take one head off the buffer, if it is there."""
        if len(self._buffer) < _TELLING_BYTES:
            return None
        if is_picture(self._buffer):
            self.rest = self._buffer
            return Head(status=200)
        has_status = _STATUS_LINE.match(self._buffer) is not None
        if not has_status and (b"\n" in self._buffer or not self._buffer[:4].upper().startswith(_PROTOCOLS)):
            said = shortened(self._buffer[: _TELLING_BYTES + 8].decode("latin-1"))
            raise CameraFault(Reason.NOT_HTTP, f"it answers {said}, which is not HTTP")
        found = _END.search(self._buffer)
        if not has_status or found is None:
            return None
        self.rest = self._buffer[found.end() :]
        return parse_head(self._buffer[: found.start()])


def parse_head(text: bytes) -> Head:
    """Take a head apart that begins with a status line, without the empty line at its end."""
    first, _, others = text.partition(b"\n")
    found = _STATUS_LINE.match(first)
    assert found is not None, "parse_head() without a status line"
    return Head(status=int(found[1]), headers=parse_headers(others))


def parse_headers(text: bytes) -> tuple[tuple[str, str], ...]:
    """Take header lines apart; what has no colon is left out."""
    lines: list[str] = []
    for line in text.decode("latin-1").split("\n"):
        if line[:1] in {" ", "\t"} and lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.rstrip("\r"))
    pairs = (line.partition(":") for line in lines if ":" in line)
    return tuple((name.strip().lower(), _CONTROL.sub("", value).strip()) for name, _, value in pairs)
