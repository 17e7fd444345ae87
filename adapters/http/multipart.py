"""The picture inside a multipart/form-data body, part by part, while the body arrives. No I/O, bounded.

A part that begins like a picture (its bytes, base64 or a data URL) is taken under any name; of several the part
``imageData`` (the Custom Vision SDK's), else a file, else the first. Where none does, ``imageData`` or the first file
is taken as it is, for the classifier to say what it thinks of it. A part's value is bytes and nothing else: a path in
it never opens a file.
"""

from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.errors import RequestInvalid
from gateway.picture_forms import HEAD_BYTES, begins_picture, is_picture, picture_of

FIELD = b"imageData"
# A device sends one part, a generous client a handful of fields beside it.
PARTS_MAX = 16
# What begins like a picture outranks any name: 0 a field, 1 a file, 2 imageData.
_PICTURE_RANK = 3
# What boundaries and part headers may add to a picture; 16 parts of 8 short headers stay far below.
ENVELOPE_BYTES_MAX = 16 * 1024
# RFC 2046 section 5.1.1: a boundary has 70 characters at most. Some devices' are longer.
_BOUNDARY_LINE_BYTES_MAX = 256


def is_multipart(content_type: str) -> bool:
    """Tell whether a body claims to be multipart."""
    return content_type[:10].lower().startswith("multipart/")


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary if the body claims to be multipart and names one, else None."""
    if not is_multipart(content_type):
        return None
    return parse_options_header(content_type)[1].get(b"boundary") or None


class Sink(Protocol):
    """Takes a body as it comes."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises RequestInvalid."""

    def finish(self) -> bytes:
        """Return the payload. Raises RequestInvalid if there is none."""


class ClaimedForm:
    """A body that claims to be multipart, which its first bytes confirm or not.

    Weak devices send a bare picture under that type, name another boundary than they send, or none.
    """

    def __init__(self, declared: bytes | None) -> None:
        self._declared = declared
        self._begin = bytearray()
        self._inner: Sink | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body; RequestInvalid if they are neither form nor picture."""
        if self._inner is not None:
            self._inner.feed(chunk)
            return
        self._begin += chunk
        if self._is_telling():
            self._inner = self._chosen()
            self._inner.feed(bytes(self._begin))
            self._begin.clear()

    def finish(self) -> bytes:
        """Return the picture; RequestInvalid if there is none."""
        if self._inner is None:
            self._inner = self._chosen()
            self._inner.feed(bytes(self._begin))
        return self._inner.finish()

    def _is_telling(self) -> bool:
        if self._begin.startswith(b"--"):
            return b"\n" in self._begin or len(self._begin) > _BOUNDARY_LINE_BYTES_MAX
        return len(self._begin) >= HEAD_BYTES

    def _chosen(self) -> Sink:
        line, end, _ = bytes(self._begin[:_BOUNDARY_LINE_BYTES_MAX]).partition(b"\n")
        is_boundary = end and line.startswith(b"--") and line.endswith(b"\r")
        boundary = (line[2:].rstrip() if is_boundary else b"") or self._declared
        if boundary is None or is_picture(bytes(self._begin[:HEAD_BYTES])):
            return RawBody()
        return FormPicture(boundary)


class FormPicture:
    """Collects the picture's bytes from the chunks of a form; the other parts are read and dropped."""

    def __init__(self, boundary: bytes) -> None:
        self._chosen: list[bytes] = []
        self._chosen_rank = 0
        self._part_rank = 0
        self._head: bytearray | None = None  # of the part that is not decided yet
        self._taking = False
        self._ended = False
        self._parts = 0
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begin,
                    "on_part_data": self._part_data,
                    "on_part_end": self._decide,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value_data,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise RequestInvalid("the multipart boundary is too long") from error

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body; RequestInvalid if they are no form."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise RequestInvalid("the multipart form is broken", hint="check its boundary and headers") from error

    def finish(self) -> bytes:
        """Return the picture; RequestInvalid if the form broke off or has none."""
        if not self._ended:
            raise RequestInvalid("the multipart form ends before its closing boundary")
        picture = b"".join(self._chosen)
        if not picture:
            raise RequestInvalid("the form has no picture", hint="send it as the part imageData, or as a file")
        return picture_of(picture)

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise RequestInvalid(f"the form has more than {PARTS_MAX} parts")
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_data(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_finished(self) -> None:
        options = parse_options_header(self._disposition)[1]
        self._part_rank = 2 if options.get(b"name") == FIELD else int(b"filename" in options)
        self._taking = False
        self._head = bytearray()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._head is not None:
            self._head += data[start:end]
            if len(self._head) >= HEAD_BYTES:
                self._decide()
        elif self._taking:
            self._chosen.append(data[start:end])

    def _decide(self) -> None:
        """Take the part if it is better than what was taken so far: its first bytes are here."""
        if self._head is None:
            return
        head, self._head = bytes(self._head), None
        rank = self._part_rank + (_PICTURE_RANK if begins_picture(head[:HEAD_BYTES]) else 0)
        self._taking = rank > self._chosen_rank
        if self._taking:
            self._chosen_rank = rank
            self._chosen = [head]

    def _end(self) -> None:
        self._ended = True


class RawBody:
    """The same for a body that is the payload itself."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        self._chunks.append(chunk)

    @property
    def taken(self) -> bytes:
        """What has come so far, which may be nothing."""
        return b"".join(self._chunks)

    def finish(self) -> bytes:
        """Return the body; RequestInvalid if it is empty."""
        body = self.taken
        if not body:
            raise RequestInvalid("the request has no body", hint="send the payload's bytes as the body")
        return body
