"""Cuts what a broker sends into MQTT control packets. Pure: bytes in, packets out.

The fixed header is that of MQTT 3.1.1 section 2.2: a byte of type and flags, then one to four bytes of length. Of a
packet beyond the cap only the beginning is kept, so that a sender's size never is our memory.
"""

from dataclasses import dataclass

LENGTH_BYTES_MAX = 4  # MQTT 3.1.1 section 2.2.3
# What stays of a packet beyond the cap: of a PUBLISH the topic with its length, and the packet id (section 3.3.2).
CUT_BYTES = 2 + 65_535 + 2


class NotMqtt(ValueError):
    """The other side does not speak MQTT."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A whole packet. Of one beyond the cap, ``body`` is the beginning; ``omitted_bytes`` counts what was not kept."""

    command: int
    body: bytes
    omitted_bytes: int = 0


class Framer:
    """The packets of one connection, in order. Memory: one packet up to the cap, and what one ``feed`` brought."""

    def __init__(self, *, body_bytes_max: int) -> None:
        self._body_bytes_max = body_bytes_max
        self._unread = bytearray()
        self._fresh = False
        self._command: int | None = None
        self._body = bytearray()
        self._kept_max = 0
        self._missing = 0
        self._omitted = 0

    def expected_bytes(self) -> int:
        """Return the size of the packet under way or next in line, as far as it will be kept; 0 if none is known.

        Raises NotMqtt.
        """
        if self._command is None:
            self._read_header()
        return min(len(self._body) + self._missing, self._kept_max)

    @property
    def has_more(self) -> bool:
        """Whether :meth:`next_packet` is worth a call before more is fed."""
        return self._fresh

    def feed(self, data: bytes) -> None:
        """Add what the socket gave."""
        self._unread += data
        self._fresh = True

    def next_packet(self) -> Packet | None:
        """Return the next whole packet, or None until more is fed. Raises NotMqtt."""
        if self._command is not None or self._read_header():
            self._read_body()
            if self._missing == 0:
                return self._finish()
        self._fresh = False
        return None

    def _read_header(self) -> bool:
        length = 0
        for index, byte in enumerate(self._unread[1 : 2 + LENGTH_BYTES_MAX]):
            if index == LENGTH_BYTES_MAX:
                raise NotMqtt("a packet's length has more than four bytes")
            length |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                self._command = self._unread[0]
                self._missing = length
                cap = self._body_bytes_max
                self._kept_max = length if length <= cap else min(cap, CUT_BYTES)
                del self._unread[: 2 + index]
                return True
        return False

    def _read_body(self) -> None:
        part = self._unread[: self._missing]
        del self._unread[: len(part)]
        self._missing -= len(part)
        kept = part[: self._kept_max - len(self._body)]
        self._body += kept
        self._omitted += len(part) - len(kept)

    def _finish(self) -> Packet:
        assert self._command is not None
        packet = Packet(self._command, bytes(self._body), self._omitted)
        self._command, self._body, self._omitted = None, bytearray(), 0
        return packet
