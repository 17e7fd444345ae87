"""Cuts what a broker sends into MQTT control packets. Pure: bytes in, packets out.

The fixed header is that of MQTT 3.1.1 section 2.2: a byte of type and flags, then one to four bytes of length. A
PUBLISH's payload is collected apart, without copies; of a packet beyond the cap only the beginning is kept, so that a
sender's size never is our memory.
"""

from dataclasses import dataclass

from adapters.mqtt.codec_payload import PayloadBuffer

LENGTH_BYTES_MAX = 4  # MQTT 3.1.1 section 2.2.3
PUBLISH = 0x30
# What stays of a PUBLISH beyond the cap: the topic with its length, and the packet id (section 3.3.2).
CUT_BYTES = 2 + 65_535 + 2


class NotMqtt(ValueError):
    """The other side does not speak MQTT."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A whole packet. ``omitted_bytes`` counts what came beyond the cap and was not kept.

    Of a PUBLISH, ``body`` ends where ``payload`` begins. ``payload`` is None in any other packet, and in a PUBLISH that
    ends before its payload could begin.
    """

    command: int
    body: bytes
    payload: bytes | None = None
    omitted_bytes: int = 0

    @property
    def qos(self) -> int:
        """A PUBLISH's quality of service; 3 is none."""
        return self.command >> 1 & 3

    @property
    def topic(self) -> bytes:
        """A PUBLISH's topic."""
        return self.body[2 : 2 + int.from_bytes(self.body[:2])]

    @property
    def packet_id(self) -> int | None:
        """A PUBLISH's packet id; None at QoS 0."""
        return int.from_bytes(self.body[-2:]) if self.qos else None


class Framer:
    """The packets of one connection, in order. Memory: one packet up to the cap, and what one ``feed`` brought."""

    def __init__(self, *, body_bytes_max: int) -> None:
        self._body_bytes_max = body_bytes_max
        self._unread = memoryview(b"")
        self._fresh = False
        self._command: int | None = None
        self._expected = 0
        self._missing = 0
        self._body = bytearray()
        self._body_end: int | None = None
        self._is_whole_head = False
        self._payload: PayloadBuffer | None = None
        self._omitted = 0

    def expected_bytes(self) -> int:
        """Return the size of the packet under way or next in line, as far as it will be kept; 0 if none is known.

        Raises NotMqtt.
        """
        if self._command is None:
            self._read_header()
        return self._expected

    @property
    def has_more(self) -> bool:
        """Whether :meth:`next_packet` is worth a call before more is fed."""
        return self._fresh

    def feed(self, data: bytes) -> None:
        """Add what the socket gave."""
        # What is left unread is less than a header or a topic, so that this copies little or nothing.
        self._unread = memoryview(bytes(self._unread) + data if self._unread else data)
        self._fresh = True

    def next_packet(self) -> Packet | None:
        """Return the next whole packet, or None until more is fed. Raises NotMqtt."""
        if self._command is not None or self._read_header():
            if self._read_body():
                self._read_payload()
            if self._missing == 0:
                return self._finish()
        self._fresh = False
        return None

    # --- inside ---

    def _read_header(self) -> bool:
        length = 0
        for index, byte in enumerate(self._unread[1 : 2 + LENGTH_BYTES_MAX]):
            if index == LENGTH_BYTES_MAX:
                raise NotMqtt("a packet's length has more than four bytes")
            length |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                self._begin(self._unread[0], length)
                self._unread = self._unread[2 + index :]
                return True
        return False

    def _begin(self, command: int, length: int) -> None:
        is_publish = command & 0xF0 == PUBLISH
        cap = self._body_bytes_max
        self._command = command
        self._missing = length
        self._expected = length if length <= cap else min(cap, CUT_BYTES)
        self._body_end = None if is_publish else min(length, cap)

    def _read_body(self) -> bool:
        """Read up to the payload; False until that is here."""
        if self._body_end is None:
            self._read_until(2)
            if len(self._body) == 2:
                self._body_end = 2 + int.from_bytes(self._body) + (2 if (self._command or 0) & 0x06 else 0)
        if self._body_end is None:
            return False
        self._read_until(self._body_end)
        return len(self._body) == self._body_end

    def _read_until(self, end: int) -> None:
        part = self._unread[: min(end - len(self._body), self._missing)]
        self._unread = self._unread[len(part) :]
        self._body += part
        self._missing -= len(part)

    def _read_payload(self) -> None:
        if not self._is_whole_head:
            self._is_whole_head = True
            is_publish = (self._command or 0) & 0xF0 == PUBLISH
            if is_publish and self._missing and len(self._body) + self._missing <= self._body_bytes_max:
                self._payload = PayloadBuffer(self._missing)
        if self._payload is not None:
            self._unread = self._payload.take(self._unread)
            self._missing = self._payload.missing
            return
        omitted = min(self._missing, len(self._unread))
        self._unread = self._unread[omitted:]
        self._missing -= omitted
        self._omitted += omitted

    def _finish(self) -> Packet:
        assert self._command is not None
        payload = None
        if self._payload is not None:
            payload = self._payload.payload()
        elif self._is_whole_head and self._command & 0xF0 == PUBLISH:
            payload = b""
        packet = Packet(self._command, bytes(self._body), payload, self._omitted)
        self._command, self._payload, self._is_whole_head = None, None, False
        self._body = bytearray()
        self._omitted = self._expected = 0
        return packet
