"""A packet → its bytes. Pure."""

from collections.abc import Callable
from typing import Any

from adapters.mqtt.codec_fields import write_binary, write_text, write_uint16, write_variable
from adapters.mqtt.codec_packets import (
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
    Unsuback,
    Unsubscribe,
)
from adapters.mqtt.codec_properties import NO_PROPERTIES, Properties, write_properties


def encode(packet: Packet, version: int) -> bytes:
    """Return ``packet`` on the wire of protocol ``version`` (4 or 5). Properties are left out in 3.1.1."""
    first, body = _ENCODERS[type(packet)](packet, version)
    return bytes((first,)) + write_variable(len(body)) + body


def _publish(packet: Publish, version: int) -> tuple[int, bytes]:
    first = 0x30 | packet.dup << 3 | packet.qos << 1 | packet.retain
    packet_id = b"" if packet.packet_id is None else write_uint16(packet.packet_id)
    return first, write_text(packet.topic) + packet_id + _properties(packet.properties, version) + packet.payload


def _connect(packet: Connect, version: int) -> tuple[int, bytes]:
    will = packet.will
    flags = packet.clean_start << 1 | (packet.username is not None) << 7 | (packet.password is not None) << 6
    payload = write_text(packet.client_id)
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        payload += _properties(will.properties, version) + write_text(will.topic) + write_binary(will.payload)
    if packet.username is not None:
        payload += write_text(packet.username)
    if packet.password is not None:
        payload += write_binary(packet.password)
    head = write_text("MQTT") + bytes((packet.version, flags)) + write_uint16(packet.keep_alive_s)
    return 0x10, head + _properties(packet.properties, version) + payload


def _connack(packet: Connack, version: int) -> tuple[int, bytes]:
    return 0x20, bytes((packet.session_present, packet.code)) + _properties(packet.properties, version)


def _acknowledgement(first: int) -> Callable[[Acknowledgement, int], tuple[int, bytes]]:
    def write(packet: Acknowledgement, version: int) -> tuple[int, bytes]:
        return first, write_uint16(packet.packet_id) + _ending(packet.code, packet.properties, version)

    return write


def _subscribe(packet: Subscribe, version: int) -> tuple[int, bytes]:
    body = write_uint16(packet.packet_id) + _properties(packet.properties, version)
    for one in packet.subscriptions:
        options = one.qos | one.no_local << 2 | one.retain_as_published << 3 | one.retain_handling << 4
        body += write_text(one.topic_filter) + bytes((options,))
    return 0x82, body


def _suback(packet: Suback, version: int) -> tuple[int, bytes]:
    return 0x90, write_uint16(packet.packet_id) + _properties(packet.properties, version) + bytes(packet.codes)


def _unsubscribe(packet: Unsubscribe, version: int) -> tuple[int, bytes]:
    body = write_uint16(packet.packet_id) + _properties(packet.properties, version)
    return 0xA2, body + b"".join(write_text(one) for one in packet.topic_filters)


def _unsuback(packet: Unsuback, version: int) -> tuple[int, bytes]:
    codes = bytes(packet.codes) if version == V5 else b""
    return 0xB0, write_uint16(packet.packet_id) + _properties(packet.properties, version) + codes


def _ending(code: int, properties: Properties, version: int) -> bytes:
    """Reason code and properties in their shortest form: nothing at all for a plain success."""
    if version != V5 or (not code and properties is NO_PROPERTIES):
        return b""
    return bytes((code,)) + (b"" if properties is NO_PROPERTIES else write_properties(properties))


def _properties(properties: Properties, version: int) -> bytes:
    return write_properties(properties) if version == V5 else b""


_ENCODERS: dict[type, Callable[[Any, int], tuple[int, bytes]]] = {
    Connect: _connect,
    Connack: _connack,
    Publish: _publish,
    Puback: _acknowledgement(0x40),
    Pubrec: _acknowledgement(0x50),
    Pubrel: _acknowledgement(0x62),
    Pubcomp: _acknowledgement(0x70),
    Subscribe: _subscribe,
    Suback: _suback,
    Unsubscribe: _unsubscribe,
    Unsuback: _unsuback,
    Pingreq: lambda _packet, _version: (0xC0, b""),
    Pingresp: lambda _packet, _version: (0xD0, b""),
    Disconnect: lambda packet, version: (0xE0, _ending(packet.code, packet.properties, version)),
    Auth: lambda packet, version: (0xF0, _ending(packet.code, packet.properties, version)),
}
