"""One packet's body → a packet. Pure.

Every function takes the flags of the fixed header, a reader of the body and the protocol version (4 or 5), and
raises MalformedPacket. Sections are those of MQTT 5.0.
"""

from collections.abc import Callable
from typing import Literal

from adapters.mqtt.codec_fields import FieldReader, MalformedPacket
from adapters.mqtt.codec_packets import (
    V3_1_1,
    V5,
    Acknowledgement,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
)
from adapters.mqtt.codec_properties import NO_PROPERTIES, PacketType, Properties, read_properties
from adapters.mqtt.codec_reasons import ReasonCode

# A topic is a name for people and patterns; the 64 KiB that MQTT allows would be kept with every refusal.
TOPIC_BYTES_MAX = 1024


class UnsupportedVersion(MalformedPacket):
    """A CONNECT of a protocol version that is not 3.1.1 or 5.0; nothing but ``level`` of it was read."""

    def __init__(self, level: int) -> None:
        super().__init__(f"protocol level {level}", ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)
        self.level = level


def decode_body(first: int, fields: FieldReader, version: int) -> Packet:
    """Return the packet whose fixed header starts with ``first``."""
    kind, flags = first >> 4, first & 0x0F
    if kind == PacketType.PUBLISH:
        return _publish(flags, fields, version)
    decode = _DECODERS.get(kind)
    if decode is None or (kind == PacketType.AUTH and version != V5):
        raise MalformedPacket(f"there is no packet type {kind}")
    if flags != _FLAGS.get(kind, 0):
        raise MalformedPacket(f"{PacketType(kind).name} with the flags {flags:#06b}")
    packet = decode(fields, version)
    fields.finish()
    return packet


# Section 2.1.3: these three have a bit set, for no reason but history.
_FLAGS: dict[int, int] = {PacketType.PUBREL: 2, PacketType.SUBSCRIBE: 2, PacketType.UNSUBSCRIBE: 2}


def decode_publish_head(first: int, fields: FieldReader, version: int) -> Publish:
    """Return the PUBLISH up to its payload, which is left in ``fields``."""
    flags = first & 0x0F
    qos = (flags >> 1) & 0x03
    if qos > 2:
        raise MalformedPacket("a PUBLISH of QoS 3")
    topic = fields.text()
    packet_id = _packet_id(fields) if qos else None
    properties = _properties(fields, version, PacketType.PUBLISH)
    _check_topic(topic, properties)
    return Publish(
        topic=topic,
        payload=b"",
        qos=qos,
        dup=bool(flags & 0x08),
        retain=bool(flags & 0x01),
        packet_id=packet_id,
        properties=properties,
    )


def _publish(flags: int, fields: FieldReader, version: int) -> Publish:
    head = decode_publish_head(flags, fields, version)
    return Publish(
        topic=head.topic,
        payload=fields.rest(),
        qos=head.qos,
        dup=head.dup,
        retain=head.retain,
        packet_id=head.packet_id,
        properties=head.properties,
    )


def _check_topic(topic: str, properties: Properties) -> None:
    if "#" in topic or "+" in topic:
        raise MalformedPacket("a PUBLISH to a topic with wildcards", ReasonCode.TOPIC_NAME_INVALID)
    if len(topic) > TOPIC_BYTES_MAX or len(topic.encode()) > TOPIC_BYTES_MAX:
        raise MalformedPacket(f"a topic of more than {TOPIC_BYTES_MAX} bytes", ReasonCode.TOPIC_NAME_INVALID)
    if not topic and properties.topic_alias is None:
        raise MalformedPacket("a PUBLISH without a topic", ReasonCode.PROTOCOL_ERROR)


def _connect(fields: FieldReader, _: int) -> Connect:
    name, level = fields.binary(), fields.byte()
    if name == b"MQIsdp":
        raise _unread(fields, UnsupportedVersion(level))
    if name != b"MQTT":
        raise MalformedPacket("a CONNECT of another protocol")
    if level not in {V3_1_1, V5}:
        raise _unread(fields, UnsupportedVersion(level))
    flags = fields.byte()
    _check_connect_flags(flags, level)
    keep_alive_s = fields.uint16()
    properties = _properties(fields, level, PacketType.CONNECT)
    return Connect(
        version=level,
        keep_alive_s=keep_alive_s,
        clean_start=bool(flags & 0x02),
        properties=properties,
        client_id=fields.text(),
        will=_will(fields, flags, level) if flags & 0x04 else None,
        username=fields.text() if flags & 0x80 else None,
        password=fields.binary() if flags & 0x40 else None,
    )


def _unread(fields: FieldReader, error: MalformedPacket) -> MalformedPacket:
    fields.rest()
    return error


def _check_connect_flags(flags: int, level: int) -> None:
    if flags & 0x01:
        raise MalformedPacket("a CONNECT with its reserved flag set")
    will_qos = (flags >> 3) & 0x03
    if will_qos > 2:
        raise MalformedPacket("a will of QoS 3")
    if not flags & 0x04 and flags & 0x38:
        raise MalformedPacket("a CONNECT with flags of a will and no will")
    if level == V3_1_1 and flags & 0x40 and not flags & 0x80:
        raise MalformedPacket("a password without a username")


def _will(fields: FieldReader, flags: int, version: int) -> Will:
    properties = _properties(fields, version, PacketType.WILL)
    topic, payload = fields.text(), fields.binary()
    return Will(
        topic=topic,
        payload=payload,
        qos=(flags >> 3) & 0x03,
        retain=bool(flags & 0x20),
        properties=properties,
    )


def _connack(fields: FieldReader, version: int) -> Connack:
    flags, code = fields.byte(), fields.byte()
    if flags > 1:
        raise MalformedPacket("a CONNACK with reserved flags set")
    return Connack(session_present=bool(flags), code=code, properties=_properties(fields, version, PacketType.CONNACK))


def _acknowledgement(
    packet: type[Puback] | type[Pubrec] | type[Pubrel] | type[Pubcomp], kind: PacketType
) -> Callable[[FieldReader, int], Packet]:
    def decode(fields: FieldReader, version: int) -> Packet:
        packet_id = _packet_id(fields)
        if version != V5 or not fields.left:
            return packet(packet_id=packet_id)
        return packet(packet_id=packet_id, code=fields.byte(), properties=_optional_properties(fields, kind))

    return decode


def _subscribe(fields: FieldReader, version: int) -> Subscribe:
    packet_id = _packet_id(fields)
    properties = _properties(fields, version, PacketType.SUBSCRIBE)
    subscriptions = []
    while fields.left:
        subscriptions.append(_subscription(fields, version))
    if not subscriptions:
        raise MalformedPacket("a SUBSCRIBE without filters", ReasonCode.PROTOCOL_ERROR)
    return Subscribe(packet_id=packet_id, subscriptions=tuple(subscriptions), properties=properties)


def _subscription(fields: FieldReader, version: int) -> Subscription:
    topic_filter, options = fields.text(), fields.byte()
    qos, handling = options & 0x03, (options >> 4) & 0x03
    if qos > 2 or handling > 2 or options & (0xC0 if version == V5 else 0xFC):
        raise MalformedPacket(f"the subscription options {options:#04x}", ReasonCode.PROTOCOL_ERROR)
    return Subscription(
        topic_filter=topic_filter,
        qos=qos,
        no_local=bool(options & 0x04),
        retain_as_published=bool(options & 0x08),
        retain_handling=handling,
    )


def _suback(fields: FieldReader, version: int) -> Suback:
    packet_id = _packet_id(fields)
    properties = _properties(fields, version, PacketType.SUBACK)
    return Suback(packet_id=packet_id, properties=properties, codes=tuple(fields.rest()))


def _unsubscribe(fields: FieldReader, version: int) -> Unsubscribe:
    packet_id = _packet_id(fields)
    properties = _properties(fields, version, PacketType.UNSUBSCRIBE)
    topic_filters = []
    while fields.left:
        topic_filters.append(fields.text())
    if not topic_filters:
        raise MalformedPacket("an UNSUBSCRIBE without filters", ReasonCode.PROTOCOL_ERROR)
    return Unsubscribe(packet_id=packet_id, topic_filters=tuple(topic_filters), properties=properties)


def _unsuback(fields: FieldReader, version: int) -> Unsuback:
    packet_id = _packet_id(fields)
    properties = _properties(fields, version, PacketType.UNSUBACK)
    # 3.1.1 has no codes: what is left over there is refused like anything behind a packet's end.
    return Unsuback(packet_id=packet_id, properties=properties, codes=tuple(fields.rest()) if version == V5 else ())


def _ending(
    packet: type[Disconnect] | type[Auth], kind: Literal[PacketType.DISCONNECT, PacketType.AUTH]
) -> Callable[[FieldReader, int], Packet]:
    def decode(fields: FieldReader, version: int) -> Packet:
        if version != V5 or not fields.left:
            return packet()
        return packet(code=fields.byte(), properties=_optional_properties(fields, kind))

    return decode


def _packet_id(fields: FieldReader) -> int:
    packet_id = fields.uint16()
    if not packet_id:
        raise MalformedPacket("a packet identifier of zero", ReasonCode.PROTOCOL_ERROR)
    return packet_id


def _properties(fields: FieldReader, version: int, kind: PacketType) -> Properties:
    return read_properties(fields, kind) if version == V5 else NO_PROPERTIES


def _optional_properties(fields: FieldReader, kind: PacketType) -> Properties:
    """Section 3.4.2.2.1 and its likes: where nothing follows the reason code, the length is zero."""
    return read_properties(fields, kind) if fields.left else NO_PROPERTIES


_DECODERS: dict[int, Callable[[FieldReader, int], Packet]] = {
    PacketType.CONNECT: _connect,
    PacketType.CONNACK: _connack,
    PacketType.PUBACK: _acknowledgement(Puback, PacketType.PUBACK),
    PacketType.PUBREC: _acknowledgement(Pubrec, PacketType.PUBREC),
    PacketType.PUBREL: _acknowledgement(Pubrel, PacketType.PUBREL),
    PacketType.PUBCOMP: _acknowledgement(Pubcomp, PacketType.PUBCOMP),
    PacketType.SUBSCRIBE: _subscribe,
    PacketType.SUBACK: _suback,
    PacketType.UNSUBSCRIBE: _unsubscribe,
    PacketType.UNSUBACK: _unsuback,
    PacketType.PINGREQ: lambda _fields, _version: Pingreq(),
    PacketType.PINGRESP: lambda _fields, _version: Pingresp(),
    PacketType.DISCONNECT: _ending(Disconnect, PacketType.DISCONNECT),
    PacketType.AUTH: _ending(Auth, PacketType.AUTH),
}

__all__ = ["TOPIC_BYTES_MAX", "Acknowledgement", "UnsupportedVersion", "decode_body", "decode_publish_head"]
