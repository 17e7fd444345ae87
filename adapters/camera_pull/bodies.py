"""From the body of an answer to one picture, whatever the head says of it. Pure: bytes in, a picture out.

The order of belief: where the picture ends by its own format; then where the framing ends (length, last chunk, part);
then the end of the connection. So a length that is wrong, absent or no number does no harm, nor does trailing junk,
a stream that never ends, or a content coding or type that is not true. A picture that neither its format nor its
framing says is whole is refused as truncated.

Memory: never more than ``bytes_max`` of picture, counted by ``grow`` as they come, and ``PART_HEAD_BYTES_MAX``.
"""

import re
import zlib
from collections.abc import Callable
from typing import Protocol

from adapters.camera_pull.faults import CameraFault, Reason
from adapters.camera_pull.framings import framing_of
from adapters.camera_pull.heads import Head, parse_headers
from adapters.camera_pull.picture_end import PictureEnd, is_picture

PART_HEAD_BYTES_MAX = 8 * 1024
# What is unpacked and looked through in one turn of the event loop: as much as is read in one.
STEP_BYTES = 64 * 1024
# Bytes that tell a picture of any kind from anything else.
_TELLING_BYTES = 12
# The begin of a JPEG twice: some cameras send it, and no decoder takes it.
_BEGIN_TWICE = b"\xff\xd8\xff\xd8"
_GZIP = b"\x1f\x8b"
_BLANKS = re.compile(rb"[\r\n \t]*")
_EMPTY_LINE = re.compile(rb"\n\r?\n")


class _Unpacker(Protocol):
    def decompress(self, data: bytes, /, max_length: int) -> bytes: ...

    @property
    def unconsumed_tail(self) -> bytes: ...


class PictureReader:
    """Fed with the body until ``whole``; then, or when no more comes, ``picture()`` is what there is."""

    def __init__(self, head: Head, *, bytes_max: int, grow: Callable[[int], None]) -> None:
        self._framing = framing_of(head)
        self._content = Contents(head.first("content-encoding"), bytes_max=bytes_max)
        self._type = head.first("content-type")
        self._part = FirstPart(self._type)
        self._bytes_max = bytes_max
        self._grow = grow
        self._buffer = bytearray()
        self._end = PictureEnd()
        self._length: int | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing more is needed."""
        return self._length is not None

    @property
    def unfinished(self) -> bool:
        """Whether there is more in what came already: feed it nothing, and let others have a turn in between."""
        return self._content.unfinished

    @property
    def overdue(self) -> bool:
        """Whether the framing says that it is all there, and the picture does not: a little more may come."""
        return self._framed and not self.whole

    @property
    def _framed(self) -> bool:
        return self._framing.ended or self._part.ended_at(len(self._buffer))

    def feed(self, data: bytes) -> None:
        """Take what came. Raises CameraFault, and whatever ``grow`` raises."""
        fresh = self._part.feed(self._content.feed(self._framing.feed(data)))
        if len(self._buffer) + len(fresh) > self._bytes_max:
            raise CameraFault(Reason.TOO_LARGE, f"its picture has more than {self._bytes_max} bytes")
        self._grow(len(fresh))
        self._buffer += fresh
        if self._buffer.startswith(_BEGIN_TWICE):
            del self._buffer[:2]
        if not self._buffer:
            return
        if len(self._buffer) >= _TELLING_BYTES and not is_picture(self._buffer):
            raise self._no_picture()
        self._length = self._end.find(self._buffer)
        if self._length is None and not self._end.knows(self._buffer):
            self._length = self._length_by_framing()

    def picture(self) -> bytes:
        """Return the picture. Raises CameraFault when there is none, or a part of one."""
        if not is_picture(self._buffer):
            raise self._no_picture()
        if self._length is not None:
            return bytes(memoryview(self._buffer)[: self._length])
        if not self._framed and (self._end.knows(self._buffer) or self._framing.promised_more):
            raise CameraFault(Reason.TRUNCATED, f"its picture broke off after {len(self._buffer)} bytes")
        return bytes(self._buffer)

    def _length_by_framing(self) -> int | None:
        found = self._part.end_in(self._buffer)
        if found is None and self._framed:
            return len(self._buffer)
        return found

    def _no_picture(self) -> CameraFault:
        said = self._type.partition(";")[0].strip()[:64]
        what = "nothing" if not self._buffer else "what is no picture"
        return CameraFault(Reason.NO_PICTURE, f"it answers {what} (Content-Type {said!a})")


class Contents:
    """Undoes gzip and deflate where the bytes are really that; the header is a hint for deflate only."""

    def __init__(self, coding: str, *, bytes_max: int) -> None:
        self._may_deflate = "deflate" in coding.lower()
        self._room = bytes_max + 1
        self._held = b""
        self._decided = False
        self._unpacker: _Unpacker | None = None

    @property
    def unfinished(self) -> bool:
        """Whether there is more to unpack in what came already."""
        return self._unpacker is not None and bool(self._unpacker.unconsumed_tail) and self._room > 0

    def feed(self, data: bytes) -> bytes:
        """Return what is in ``data``: unpacked, at most ``STEP_BYTES`` of it at a time."""
        if not self._decided:
            self._held += data
            if len(self._held) < 2:
                return b""
            data, self._held = self._held, b""
            self._decided = True
            self._unpacker = self._chosen(data)
        return data if self._unpacker is None else self._unpack(self._unpacker, data)

    def _chosen(self, begin: bytes) -> _Unpacker | None:
        if begin.startswith(_GZIP):
            return zlib.decompressobj(wbits=31)
        if not self._may_deflate or begin[:2] in {b"\xff\xd8", b"\x89P", b"--"}:
            return None
        # RFC 9110 section 8.4.1.2: deflate means zlib's format, and some send it bare.
        is_zlib = begin[0] & 0x0F == 8 and int.from_bytes(begin[:2], "big") % 31 == 0
        return zlib.decompressobj(wbits=15 if is_zlib else -15)

    def _unpack(self, unpacker: _Unpacker, data: bytes) -> bytes:
        # Never more than one byte above the cap: a bomb is seen before it is unpacked.
        try:
            packed = unpacker.unconsumed_tail + data
            out = unpacker.decompress(packed, min(self._room, STEP_BYTES)) if self._room else b""
        except zlib.error as error:
            raise CameraFault(Reason.NO_PICTURE, f"it answers damaged gzip or deflate ({error})") from error
        self._room -= len(out)
        return out


class FirstPart:
    """The first part of ``multipart/x-mixed-replace``, or of anything that looks like it; else the body itself.

    What the head declares as the boundary is believed only where the body has no line that begins with two dashes:
    cameras quote it, add the dashes to it, or send another.
    """

    def __init__(self, content_type: str) -> None:
        self._declared = _boundary(content_type)
        self._head = b""
        self._inside = False
        self._delimiter = b""
        self._length: int | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what of ``data`` belongs to the part, the part's end not looked for."""
        return data if self._inside else self._begun(data)

    def _begun(self, data: bytes) -> bytes:
        self._head += data
        if not self._delimiter:
            self._find_begin()
        if self._delimiter:
            self._find_end_of_head()
        if not self._inside:
            self._check_passed(len(self._head))
            return b""
        begin, self._head = self._head, b""
        return begin

    def ended_at(self, byte_count: int) -> bool:
        """Tell whether so many bytes are the part, by its own Content-Length."""
        return self._length is not None and byte_count >= self._length

    def end_in(self, buffer: bytearray) -> int | None:
        """Return where the part ends, by its length or by the next boundary."""
        if self.ended_at(len(buffer)):
            return self._length
        if not self._delimiter:
            return None
        found = buffer.find(b"\n" + self._delimiter)
        return None if found < 0 else found - buffer[:found].endswith(b"\r")

    def _find_begin(self) -> None:
        """Decide whether there are parts at all, and drop lines before the first boundary."""
        head, at = self._head, 0
        while not self._delimiter and not self._inside:
            at = _BLANKS.match(head, at).end()  # type: ignore[union-attr]  # matches nothing, too
            begin = head[at : at + _TELLING_BYTES]
            has_parts = self._declared or begin.startswith(b"--")
            if len(begin) == _TELLING_BYTES and (not has_parts or is_picture(begin)):
                self._inside = True
                break
            end = head.find(b"\n", at)
            if not has_parts or end < 0:
                break
            at = self._pass_line(head[at:end], at, end + 1)
            self._check_passed(at)
        self._head = head[at:]

    def _pass_line(self, line: bytes, begin: int, behind: int) -> int:
        """Look at a line before the part, and return where to go on."""
        if line.lower().startswith(b"content-"):  # the first boundary was forgotten
            self._delimiter = b"--" + self._declared
            return begin
        if line.startswith(b"--") or line.strip(b"- \r") == self._declared:
            self._delimiter = line.rstrip()
        return behind

    def _check_passed(self, byte_count: int) -> None:
        if byte_count > PART_HEAD_BYTES_MAX:
            raise CameraFault(Reason.NO_PICTURE, "its stream has no picture after the first 8 KiB")

    def _find_end_of_head(self) -> None:
        # The delimiter's own line end may be the first half of the empty line.
        found = _EMPTY_LINE.search(b"\n" + self._head)
        if found is not None:
            self._open(self._head[: max(found.start() - 1, 0)], self._head[found.end() - 1 :])

    def _open(self, head: bytes, others: bytes) -> None:
        length = dict(parse_headers(head)).get("content-length", "")
        self._length = int(length) if length.isascii() and length.isdigit() and int(length) else None
        self._head = others
        self._inside = True


def _boundary(content_type: str) -> bytes:
    """Return the declared boundary without quotes and dashes; nothing if it is no multipart."""
    kind, _, parameters = content_type.partition(";")
    if not kind.strip().lower().startswith("multipart/"):
        return b""
    _, _, value = parameters.partition("=")
    return value.partition(";")[0].strip(" \"'").strip("-").encode("latin-1") or b"--"
