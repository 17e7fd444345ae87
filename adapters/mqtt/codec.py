"""MQTT 3.1.1 and 5.0 without I/O: a byte stream, split anywhere, → packets; packets → bytes.

Source: OASIS MQTT Version 3.1.1 and 5.0, chapters 2 and 3. Knows the packets of both sides, no state beyond the
version. A decoder raises nothing but MalformedPacket, and then stays broken, like the connection it belongs to.
Limits: one packet of ``packet_bytes_max`` (a PUBLISH) or ``CONTROL_BYTES_MAX`` (any other) is buffered, plus what came
with it.
"""

from dataclasses import dataclass, replace

from adapters.mqtt.codec_decode import TOPIC_BYTES_MAX, UnsupportedVersion, decode_body, decode_publish_head
from adapters.mqtt.codec_encode import encode
from adapters.mqtt.codec_fields import FieldReader, MalformedPacket
from adapters.mqtt.codec_packets import V3_1_1, Connect, Packet, Publish
from adapters.mqtt.codec_payload import PayloadBuffer
from adapters.mqtt.codec_properties import PROPERTIES_BYTES_MAX, PacketType
from adapters.mqtt.codec_reasons import ReasonCode

# Room for a CONNECT with a long token as its password and a will, and for a SUBSCRIBE of a hundred filters.
CONTROL_BYTES_MAX = 32 * 1024
# Section 2.1.1: one byte of type and flags, at most four of remaining length.
HEADER_BYTES_MAX = 5
# From a PUBLISH's first byte to its payload, at most.
PUBLISH_HEAD_BYTES_MAX = HEADER_BYTES_MAX + 2 + TOPIC_BYTES_MAX + 2 + 3 + PROPERTIES_BYTES_MAX
# From here on a PUBLISH's payload is collected apart: above its head, where copying begins to be worth avoiding.
LARGE_FRAME_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class FrameHead:
    """The fixed header of the packet at the front of the stream; ``frame_bytes`` counts the header too."""

    first: int
    header_bytes: int
    frame_bytes: int

    @property
    def is_publish(self) -> bool:
        return self.first >> 4 == PacketType.PUBLISH


@dataclass(frozen=True, slots=True)
class PublishHead:
    """A PUBLISH up to its payload: ``publish`` has none, ``payload_bytes`` is what its header announces."""

    publish: Publish
    payload_bytes: int


class PacketDecoder:
    """Cuts a byte stream into packets. ``version`` is None for a server until a CONNECT tells it."""

    def __init__(self, *, packet_bytes_max: int, version: int | None = None) -> None:
        self.version = version
        self._packet_bytes_max = packet_bytes_max
        self._buffer = bytearray()
        self._head: FrameHead | None = None
        self._discarding = 0
        self._large: PayloadBuffer | None = None
        self._large_publish: Publish | None = None
        self._broken: MalformedPacket | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes that came and belong to no packet yet; those of a large payload are not counted."""
        return len(self._buffer)

    @property
    def payload_missing_bytes(self) -> int:
        """Bytes of the large payload under way that have not come; 0 if there is none."""
        return 0 if self._large is None else self._large.missing

    def feed(self, data: bytes | memoryview) -> None:
        """Add bytes of the stream."""
        if self._broken is not None:
            return
        if self._large is not None:
            data = self._large.take(memoryview(data))
        self._buffer += data
        self._discard()

    def head(self) -> FrameHead | None:
        """Return the header of the packet at the front, None until it is complete. Raises MalformedPacket."""
        if self._broken is not None:
            raise self._broken
        if self._head is None and not self._discarding:
            try:
                self._head = self._read_head()
            except MalformedPacket as error:
                self._break(error)
                raise
        return self._head

    def next_packet(self) -> Packet | None:
        """Return the packet at the front, None until it is complete. Raises MalformedPacket."""
        head = self.head()
        if head is None:
            return None
        if head.is_publish and head.frame_bytes >= LARGE_FRAME_BYTES:
            return self._next_large(head)
        try:
            self._check_size(head)
            if len(self._buffer) < head.frame_bytes:
                return None
            packet = self._decode(head)
        except MalformedPacket as error:
            self._break(error)
            raise
        del self._buffer[: head.frame_bytes]
        self._head = None
        return packet

    def peek_publish(self) -> PublishHead | None:
        """Return the PUBLISH at the front without its payload, None until that much of it came."""
        head = self.head()
        if head is None or not self._has_publish_head(head):
            return None
        fields = FieldReader(memoryview(self._buffer)[head.header_bytes : min(head.frame_bytes, len(self._buffer))])
        body_bytes, came = head.frame_bytes - head.header_bytes, fields.left
        try:
            publish = decode_publish_head(head.first, fields, self.version or V3_1_1)
            return PublishHead(publish, body_bytes - (came - fields.left))
        except MalformedPacket as error:
            self._break(error)
            raise

    def discard_packet(self) -> None:
        """Forget the packet at the front, also what of it has yet to come."""
        head = self.head()
        assert head is not None, "there is no packet to discard"
        self._head = None
        self._discarding = head.frame_bytes
        self._discard()

    @property
    def discarding(self) -> bool:
        """Whether a discarded packet has not wholly come yet."""
        return self._discarding > 0

    def forget(self) -> None:
        """Hold nothing any more."""
        # Dropped, not cut: the traceback of an error may still hold a view of the buffer.
        self._buffer = bytearray()
        self._head = None
        self._large = self._large_publish = None

    # --- inside ---

    def _next_large(self, head: FrameHead) -> Publish | None:
        """Return the large PUBLISH at the front when its payload is complete."""
        if self._large is None and not self._begin_large(head):
            return None
        assert self._large is not None
        assert self._large_publish is not None
        if self._large.missing:
            return None
        packet = replace(self._large_publish, payload=self._large.payload())
        self._large = self._large_publish = self._head = None
        return packet

    def _begin_large(self, head: FrameHead) -> bool:
        """Collect the payload apart from now on; False until all before it came."""
        try:
            self._check_size(head)
        except MalformedPacket as error:
            self._break(error)
            raise
        known = self.peek_publish()
        if known is None:
            return False
        self._large_publish = known.publish
        self._large = PayloadBuffer(known.payload_bytes)
        rest = self._large.take(memoryview(self._buffer)[head.frame_bytes - known.payload_bytes :])
        self._buffer = bytearray(rest)
        return True

    def _read_head(self) -> FrameHead | None:
        """Read the fixed header (section 2.1). A padded remaining length is taken: some modems send it."""
        buffer = self._buffer
        if self.version is None and buffer and buffer[0] != PacketType.CONNECT << 4:
            # Said at the first byte: what speaks another protocol would wait for our answer, and we for its rest.
            raise MalformedPacket("the first packet is no CONNECT", ReasonCode.PROTOCOL_ERROR)
        length = 0
        for place in range(1, HEADER_BYTES_MAX):
            if place >= len(buffer):
                return None
            length |= (buffer[place] & 0x7F) << (7 * (place - 1))
            if buffer[place] < 0x80:
                return FrameHead(buffer[0], place + 1, place + 1 + length)
        raise MalformedPacket("the remaining length has more than four bytes")

    def _check_size(self, head: FrameHead) -> None:
        bytes_max = self._packet_bytes_max if head.is_publish else CONTROL_BYTES_MAX
        if head.frame_bytes > bytes_max:
            raise MalformedPacket(
                f"a packet of {head.frame_bytes} bytes; at most {bytes_max} are taken", ReasonCode.PACKET_TOO_LARGE
            )

    def _decode(self, head: FrameHead) -> Packet:
        body = memoryview(self._buffer)[head.header_bytes : head.frame_bytes]
        packet = decode_body(head.first, FieldReader(body), self.version or V3_1_1)
        if isinstance(packet, Connect) and self.version is None:
            self.version = packet.version
        return packet

    def _has_publish_head(self, head: FrameHead) -> bool:
        return len(self._buffer) >= min(head.frame_bytes, PUBLISH_HEAD_BYTES_MAX)

    def _discard(self) -> None:
        count = min(self._discarding, len(self._buffer))
        if count:
            del self._buffer[:count]
            self._discarding -= count

    def _break(self, error: MalformedPacket) -> None:
        """Stay broken."""
        self._broken = error
        self.forget()


__all__ = [
    "CONTROL_BYTES_MAX",
    "LARGE_FRAME_BYTES",
    "PUBLISH_HEAD_BYTES_MAX",
    "FrameHead",
    "MalformedPacket",
    "PacketDecoder",
    "PublishHead",
    "UnsupportedVersion",
    "encode",
]
