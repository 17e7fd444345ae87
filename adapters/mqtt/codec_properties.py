"""The properties of MQTT 5.0: one table of all of them (section 2.2.2.2), reading and writing. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from adapters.mqtt.codec_fields import (
    FieldReader,
    MalformedPacket,
    write_binary,
    write_text,
    write_uint16,
    write_uint32,
    write_variable,
)
from adapters.mqtt.codec_reasons import ReasonCode


class PacketType(IntEnum):
    """Section 2.1.2. WILL is not a packet; its properties have a set of their own."""

    WILL = 0
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """All properties; what a packet does not carry is None or empty."""

    payload_format: int | None = None
    message_expiry_s: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    subscription_ids: tuple[int, ...] = ()
    session_expiry_s: int | None = None
    assigned_client_id: str | None = None
    server_keep_alive_s: int | None = None
    authentication_method: str | None = None
    authentication_data: bytes | None = None
    request_problem_information: bool | None = None
    will_delay_s: int | None = None
    request_response_information: bool | None = None
    response_information: str | None = None
    server_reference: str | None = None
    reason_string: str | None = None
    receive_maximum: int | None = None
    topic_alias_maximum: int | None = None
    topic_alias: int | None = None
    maximum_qos: int | None = None
    retain_available: bool | None = None
    user: tuple[tuple[str, str], ...] = ()
    maximum_packet_bytes: int | None = None
    wildcard_available: bool | None = None
    subscription_ids_available: bool | None = None
    shared_available: bool | None = None


NO_PROPERTIES = Properties()

# A user property takes five bytes or more on the wire and a few hundred in memory; devices send a handful.
PROPERTIES_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a property's value is read and written."""

    read: Callable[[FieldReader], Any]
    write: Callable[[Any], bytes]


def _flag(fields: FieldReader) -> bool:
    value = fields.byte()
    if value > 1:
        raise MalformedPacket(f"a flag is {value}", ReasonCode.PROTOCOL_ERROR)
    return bool(value)


def _not_zero(read: Callable[[FieldReader], int]) -> Callable[[FieldReader], int]:
    def checked(fields: FieldReader) -> int:
        value = read(fields)
        if not value:
            raise MalformedPacket("a property that can't be zero is", ReasonCode.PROTOCOL_ERROR)
        return value

    return checked


def _bit(fields: FieldReader) -> int:
    return int(_flag(fields))


_FLAG = _Kind(_flag, lambda value: bytes((value,)))
_BIT = _Kind(_bit, lambda value: bytes((value,)))
_UINT16 = _Kind(FieldReader.uint16, write_uint16)
_UINT16_NOT_ZERO = _Kind(_not_zero(FieldReader.uint16), write_uint16)
_UINT32 = _Kind(FieldReader.uint32, write_uint32)
_UINT32_NOT_ZERO = _Kind(_not_zero(FieldReader.uint32), write_uint32)
_VARIABLE = _Kind(_not_zero(FieldReader.variable), write_variable)
_TEXT = _Kind(FieldReader.text, write_text)
_BINARY = _Kind(FieldReader.binary, write_binary)
_PAIR = _Kind(lambda fields: (fields.text(), fields.text()), lambda pair: write_text(pair[0]) + write_text(pair[1]))


@dataclass(frozen=True, slots=True)
class _Declared:
    """One property: its field in Properties, its type, and the packets that may carry it."""

    name: str
    kind: _Kind
    packets: frozenset[PacketType]
    repeats: bool = False


_P = PacketType
_MESSAGE = frozenset({_P.PUBLISH, _P.WILL})
_ACKNOWLEDGEMENTS = frozenset({_P.PUBACK, _P.PUBREC, _P.PUBREL, _P.PUBCOMP, _P.SUBACK, _P.UNSUBACK})
_CONNACK = frozenset({_P.CONNACK})
_BOTH_CONNECTS = frozenset({_P.CONNECT, _P.CONNACK})
_EVERYWHERE = frozenset(_P) - {_P.PINGREQ, _P.PINGRESP}

_TABLE: dict[int, _Declared] = {
    0x01: _Declared("payload_format", _BIT, _MESSAGE),
    0x02: _Declared("message_expiry_s", _UINT32, _MESSAGE),
    0x03: _Declared("content_type", _TEXT, _MESSAGE),
    0x08: _Declared("response_topic", _TEXT, _MESSAGE),
    0x09: _Declared("correlation_data", _BINARY, _MESSAGE),
    0x0B: _Declared("subscription_ids", _VARIABLE, frozenset({_P.PUBLISH, _P.SUBSCRIBE}), repeats=True),
    0x11: _Declared("session_expiry_s", _UINT32, _BOTH_CONNECTS | {_P.DISCONNECT}),
    0x12: _Declared("assigned_client_id", _TEXT, _CONNACK),
    0x13: _Declared("server_keep_alive_s", _UINT16, _CONNACK),
    0x15: _Declared("authentication_method", _TEXT, _BOTH_CONNECTS | {_P.AUTH}),
    0x16: _Declared("authentication_data", _BINARY, _BOTH_CONNECTS | {_P.AUTH}),
    0x17: _Declared("request_problem_information", _FLAG, frozenset({_P.CONNECT})),
    0x18: _Declared("will_delay_s", _UINT32, frozenset({_P.WILL})),
    0x19: _Declared("request_response_information", _FLAG, frozenset({_P.CONNECT})),
    0x1A: _Declared("response_information", _TEXT, _CONNACK),
    0x1C: _Declared("server_reference", _TEXT, _CONNACK | {_P.DISCONNECT}),
    0x1F: _Declared("reason_string", _TEXT, _CONNACK | _ACKNOWLEDGEMENTS | {_P.DISCONNECT, _P.AUTH}),
    0x21: _Declared("receive_maximum", _UINT16_NOT_ZERO, _BOTH_CONNECTS),
    0x22: _Declared("topic_alias_maximum", _UINT16, _BOTH_CONNECTS),
    0x23: _Declared("topic_alias", _UINT16, frozenset({_P.PUBLISH})),
    0x24: _Declared("maximum_qos", _BIT, _CONNACK),
    0x25: _Declared("retain_available", _FLAG, _CONNACK),
    0x26: _Declared("user", _PAIR, _EVERYWHERE, repeats=True),
    0x27: _Declared("maximum_packet_bytes", _UINT32_NOT_ZERO, _BOTH_CONNECTS),
    0x28: _Declared("wildcard_available", _FLAG, _CONNACK),
    0x29: _Declared("subscription_ids_available", _FLAG, _CONNACK),
    0x2A: _Declared("shared_available", _FLAG, _CONNACK),
}


def read_properties(fields: FieldReader, packet: PacketType) -> Properties:
    """Read the property length and the properties. Unknown, misplaced or repeated ones are protocol errors."""
    count = fields.variable()
    if not count:
        return NO_PROPERTIES
    if count > PROPERTIES_BYTES_MAX:
        raise MalformedPacket(f"{count} bytes of properties", ReasonCode.PACKET_TOO_LARGE)
    part = fields.part(count)
    single: dict[str, Any] = {}
    repeated: dict[str, list[Any]] = {}
    while part.left:
        declared = _declared(part.byte(), packet)
        value = declared.kind.read(part)
        if declared.repeats:
            repeated.setdefault(declared.name, []).append(value)
        elif declared.name in single:
            raise MalformedPacket(f"{declared.name} comes twice", ReasonCode.PROTOCOL_ERROR)
        else:
            single[declared.name] = value
    if packet is PacketType.SUBSCRIBE and len(repeated.get("subscription_ids", ())) > 1:
        raise MalformedPacket("subscription_ids comes twice", ReasonCode.PROTOCOL_ERROR)
    single.update({name: tuple(values) for name, values in repeated.items()})
    return Properties(**single)


def _declared(identifier: int, packet: PacketType) -> _Declared:
    # Identifiers are variable byte integers, but all of them fit one byte (section 2.2.2.2).
    declared = _TABLE.get(identifier)
    if declared is None:
        raise MalformedPacket(f"there is no property 0x{identifier:02x}")
    if packet not in declared.packets:
        raise MalformedPacket(f"{declared.name} is not for {packet.name}", ReasonCode.PROTOCOL_ERROR)
    return declared


def write_properties(properties: Properties) -> bytes:
    """Return the property length and the properties."""
    if properties is NO_PROPERTIES:
        return b"\x00"
    written = bytearray()
    for identifier, declared in _TABLE.items():
        value = getattr(properties, declared.name)
        for one in value if declared.repeats else (value,):
            if one is not None:
                written.append(identifier)
                written += declared.kind.write(one)
    return write_variable(len(written)) + bytes(written)
