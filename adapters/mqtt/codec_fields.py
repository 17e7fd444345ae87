"""The data types of MQTT: reading them from a packet's body, and writing them. Pure.

Source: OASIS MQTT Version 5.0 section 1.5 (3.1.1 section 1.5 is a part of it).
"""

import struct

from adapters.mqtt.codec_reasons import ReasonCode

# Section 1.5.5: four bytes of seven bits.
VARIABLE_MAX = 268_435_455
# Section 1.5.4: a length of two bytes.
STRING_BYTES_MAX = 65_535


class MalformedPacket(ValueError):
    """The peer's bytes are not MQTT. ``code`` is what a DISCONNECT of MQTT 5 says about it."""

    def __init__(self, detail: str, code: ReasonCode = ReasonCode.MALFORMED_PACKET) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code


class FieldReader:
    """Reads one packet's body, field by field. Every read raises MalformedPacket beyond the end."""

    __slots__ = ("_at", "_end", "_view")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0
        self._end = len(view)

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return self._end - self._at

    def byte(self) -> int:
        return self._view[self._advance(1)]

    def uint16(self) -> int:
        at = self._advance(2)
        return self._view[at] << 8 | self._view[at + 1]

    def uint32(self) -> int:
        at = self._advance(4)
        return int.from_bytes(self._view[at : at + 4], "big")

    def variable(self) -> int:
        """Read a variable byte integer, in its shortest form only (MQTT-1.5.5-1)."""
        value = 0
        for place in range(4):
            digit = self.byte()
            value |= (digit & 0x7F) << (7 * place)
            if digit < 0x80:
                if place and not digit:
                    raise MalformedPacket("a variable byte integer is longer than needed")
                return value
        raise MalformedPacket("a variable byte integer has more than four bytes")

    def binary(self) -> bytes:
        count = self.uint16()
        at = self._advance(count)
        return bytes(self._view[at : at + count])

    def text(self) -> str:
        """Read a UTF-8 string: no surrogates (Python's decoder refuses them), no U+0000."""
        count = self.uint16()
        at = self._advance(count)
        try:
            text = str(self._view[at : at + count], "utf-8")
        except UnicodeDecodeError:
            # Not chained: the error would keep the buffer's view, and with it the buffer, alive.
            text = None
        if text is None:
            raise MalformedPacket("a string is not UTF-8")
        if "\x00" in text:
            raise MalformedPacket("a string has the character U+0000")
        return text

    def part(self, count: int) -> "FieldReader":
        """Return a reader of the next ``count`` bytes."""
        at = self._advance(count)
        return FieldReader(self._view[at : at + count])

    def rest(self) -> bytes:
        """Return what is left, copied once."""
        at = self._advance(self.left)
        return bytes(self._view[at:])

    def finish(self) -> None:
        """Raise MalformedPacket unless everything is read."""
        if self.left:
            raise MalformedPacket(f"{self.left} bytes too many")

    def _advance(self, count: int) -> int:
        at = self._at
        if at + count > self._end:
            raise MalformedPacket("a packet ends inside a field")
        self._at = at + count
        return at


def write_uint16(value: int) -> bytes:
    return struct.pack("!H", value)


def write_uint32(value: int) -> bytes:
    return struct.pack("!I", value)


def write_variable(value: int) -> bytes:
    assert 0 <= value <= VARIABLE_MAX, "our own packet is too large"
    written = bytearray()
    while True:
        value, digit = divmod(value, 128)
        written.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(written)


def write_binary(data: bytes) -> bytes:
    assert len(data) <= STRING_BYTES_MAX, "our own field is too long"
    return struct.pack("!H", len(data)) + data


def write_text(text: str) -> bytes:
    return write_binary(text.encode())
