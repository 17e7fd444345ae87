"""MQTT 3.1.1 as a server sees it: bytes in, packets out. Pure.

Source: OASIS MQTT Version 3.1.1, chapters 2 and 3. Only what IoT Hub offers: QoS 0 and 1, no retained messages.
A decoder raises :class:`MalformedPacket` once and is then useless, like the connection it belongs to.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

# IoT Hub takes 256 KB of body; topic and headers come on top. Larger means a client that is not ours.
PACKET_BYTES_MAX = 1024 * 1024

CONNACK_ACCEPTED = 0
CONNACK_SERVER_UNAVAILABLE = 3
CONNACK_BAD_CREDENTIALS = 4
CONNACK_NOT_AUTHORIZED = 5


class MalformedPacket(ValueError):
    """The bytes are not MQTT 3.1.1, or use what IoT Hub does not offer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    client_id: str
    username: str | None
    password: str | None
    keep_alive_s: int
    clean_session: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    topic: str
    payload: bytes
    qos: int = 0
    packet_id: int | None = None
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Puback:
    packet_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    pass


Packet = Connect | Publish | Puback | Subscribe | Unsubscribe | Ping | Disconnect


class PacketDecoder:
    """Cuts a byte stream, split anywhere, into packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Packet]:
        """Return the packets that are complete now. Raises MalformedPacket."""
        self._buffer += data
        packets = []
        while (cut := _frame_end(self._buffer)) is not None:
            start, end = cut
            packets.append(_decode(self._buffer[0], bytes(self._buffer[start:end])))
            del self._buffer[:end]
        return packets


def connack(code: int, *, session_present: bool = False) -> bytes:
    """Return a CONNACK with a return code of section 3.2.2.3."""
    return bytes((0x20, 2, int(session_present and code == CONNACK_ACCEPTED), code))


def puback(packet_id: int) -> bytes:
    """Return a PUBACK."""
    return struct.pack("!BBH", 0x40, 2, packet_id)


def suback(packet_id: int, granted: tuple[int, ...]) -> bytes:
    """Return a SUBACK with one granted QoS (0x80: refused) per filter."""
    return _frame(0x90, struct.pack("!H", packet_id) + bytes(granted))


def unsuback(packet_id: int) -> bytes:
    """Return an UNSUBACK."""
    return struct.pack("!BBH", 0xB0, 2, packet_id)


def pingresp() -> bytes:
    """Return a PINGRESP."""
    return b"\xd0\x00"


def publish(message: Publish) -> bytes:
    """Return a PUBLISH; QoS 1 needs a packet id."""
    first = 0x30 | (message.qos << 1) | (0x08 if message.duplicate else 0)
    identifier = b"" if message.packet_id is None else struct.pack("!H", message.packet_id)
    return _frame(first, _string(message.topic) + identifier + message.payload)


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("!H", len(encoded)) + encoded


def _frame(first: int, body: bytes) -> bytes:
    length = bytearray()
    remaining = len(body)
    while True:
        remaining, digit = divmod(remaining, 128)
        length.append(digit | (0x80 if remaining else 0))
        if not remaining:
            return bytes((first,)) + bytes(length) + body


def _frame_end(buffer: bytearray) -> tuple[int, int] | None:
    """Return where the first packet's body starts and ends, or None while it is incomplete (section 2.2.3)."""
    length = 0
    for place in range(1, 5):
        if place >= len(buffer):
            return None
        length |= (buffer[place] & 0x7F) << (7 * (place - 1))
        if not buffer[place] & 0x80:
            break
    else:
        raise MalformedPacket("the remaining length has more than four bytes")
    if length > PACKET_BYTES_MAX:
        raise MalformedPacket(f"a packet of {length} bytes")
    end = place + 1 + length
    return (place + 1, end) if end <= len(buffer) else None


class _Fields:
    """Reads the fields of one packet's body in order."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, count: int) -> bytes:
        taken = self._body[self._at : self._at + count]
        if len(taken) < count:
            raise MalformedPacket("a packet ends inside a field")
        self._at += count
        return taken

    def uint16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def text(self) -> str:
        try:
            return self.take(self.uint16()).decode()
        except UnicodeDecodeError as error:
            raise MalformedPacket("a string is not UTF-8") from error

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._at)

    def at_end(self) -> bool:
        return self._at == len(self._body)


def _decode(first: int, body: bytes) -> Packet:
    fields = _Fields(body)
    if first >> 4 == 3:
        return _publish(first, fields)
    decode = _DECODERS.get(first >> 4)
    if decode is None:
        raise MalformedPacket(f"packet type {first >> 4} is not for a server, or not offered by IoT Hub")
    return decode(fields)


def _connect(fields: _Fields) -> Connect:
    if (fields.text(), fields.take(1)) != ("MQTT", b"\x04"):
        raise MalformedPacket("not MQTT 3.1.1")
    flags = fields.take(1)[0]
    keep_alive_s = fields.uint16()
    client_id = fields.text()
    if flags & 0x04:  # a will: IoT Hub takes it, we forget it
        fields.text()
        fields.take(fields.uint16())
    username = fields.text() if flags & 0x80 else None
    password = fields.text() if flags & 0x40 else None
    return Connect(
        client_id=client_id,
        username=username,
        password=password,
        keep_alive_s=keep_alive_s,
        clean_session=bool(flags & 0x02),
    )


def _publish(first: int, fields: _Fields) -> Publish:
    qos = (first >> 1) & 0x03
    if qos > 1:
        raise MalformedPacket("IoT Hub closes the connection on QoS 2")
    topic = fields.text()
    packet_id = fields.uint16() if qos else None
    return Publish(topic=topic, payload=fields.rest(), qos=qos, packet_id=packet_id, duplicate=bool(first & 0x08))


def _filters(fields: _Fields, *, with_qos: bool) -> tuple[str, ...]:
    filters = []
    while not fields.at_end():
        filters.append(fields.text())
        if with_qos:
            fields.take(1)
    if not filters:
        raise MalformedPacket("a subscription without filters")
    return tuple(filters)


_DECODERS: dict[int, Callable[[_Fields], Packet]] = {
    1: _connect,
    4: lambda fields: Puback(packet_id=fields.uint16()),
    8: lambda fields: Subscribe(packet_id=fields.uint16(), filters=_filters(fields, with_qos=True)),
    10: lambda fields: Unsubscribe(packet_id=fields.uint16(), filters=_filters(fields, with_qos=False)),
    12: lambda _fields: Ping(),
    14: lambda _fields: Disconnect(),
}
