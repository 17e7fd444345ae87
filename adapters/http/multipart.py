"""The picture inside a multipart/form-data body, part by part, while the body arrives. No I/O, bounded.

The part ``imageData`` is the picture, with or without a filename (the Custom Vision SDK sends none); failing that,
the first part with a filename. A part's value is bytes and nothing else: a path in it never opens a file.
"""

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gateway.errors import RequestInvalid

FIELD = b"imageData"
# A device sends one part, a generous client a handful of fields beside it.
PARTS_MAX = 16
# What boundaries and part headers may add to a picture; 16 parts of 8 short headers stay far below.
ENVELOPE_BYTES_MAX = 16 * 1024


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary if the body claims to be multipart and names one, else None: then it is read as it is."""
    if not content_type[:10].lower().startswith("multipart/"):
        return None
    return parse_options_header(content_type)[1].get(b"boundary") or None


class FormPicture:
    """Collects the picture's bytes from the chunks of a form; the other parts are read and dropped."""

    def __init__(self, boundary: bytes) -> None:
        self._chosen: list[bytes] = []
        self._chosen_rank = 0  # 0 none, 1 the first file, 2 imageData
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
        return picture

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
        rank = 2 if options.get(b"name") == FIELD else int(b"filename" in options)
        self._taking = rank > self._chosen_rank
        if self._taking:
            self._chosen_rank = rank
            self._chosen.clear()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._taking:
            self._chosen.append(data[start:end])

    def _end(self) -> None:
        self._ended = True


class RawBody:
    """The same for a body that is the payload itself."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        self._chunks.append(chunk)

    def finish(self) -> bytes:
        """Return the body; RequestInvalid if it is empty."""
        body = b"".join(self._chunks)
        if not body:
            raise RequestInvalid("the request has no body", hint="send the payload's bytes as the body")
        return body
