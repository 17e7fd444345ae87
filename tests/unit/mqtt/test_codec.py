"""The MQTT codec against bytes written by hand from the specification, and its limits."""

import tracemalloc

import pytest

from adapters.mqtt.codec import (
    CONTROL_BYTES_MAX,
    LARGE_FRAME_BYTES,
    MalformedPacket,
    PacketDecoder,
    UnsupportedVersion,
    encode,
)
from adapters.mqtt.codec_fields import write_text, write_variable
from adapters.mqtt.codec_packets import (
    V3_1_1,
    V5,
    Connack,
    Connect,
    Packet,
    Pingreq,
    Puback,
    Publish,
    Subscribe,
    Subscription,
    Will,
)
from adapters.mqtt.codec_properties import PROPERTIES_BYTES_MAX, Properties
from adapters.mqtt.codec_reasons import ReasonCode

CONNECT_3_1_1 = bytes.fromhex(
    "10 2a 0004 4d515454 04 ee 003c 0003 636d31 0004 77696c6c 0003 646561 0004 75736572 0008 7061737377 6f7264"
)


def decode(data: bytes, version: int | None, packet_bytes_max: int = 100_000) -> Packet | None:
    decoder = PacketDecoder(packet_bytes_max=packet_bytes_max, version=version)
    decoder.feed(data)
    return decoder.next_packet()


def code_of(data: bytes, version: int | None = V5) -> ReasonCode:
    with pytest.raises(MalformedPacket) as raised:
        decode(data, version)
    return raised.value.code


def test_connect_of_3_1_1_is_read_with_will_and_login() -> None:
    assert decode(CONNECT_3_1_1, None) == Connect(
        version=V3_1_1,
        client_id="cm1",
        clean_start=True,
        keep_alive_s=60,
        will=Will(topic="will", payload=b"dea", qos=1, retain=True),
        username="user",
        password=b"password",
    )


def test_connect_of_5_0_is_read_with_properties() -> None:
    data = bytes.fromhex("1017 0004 4d515454 05 02 000a 08 11 0000000a 21 0014 0002 6335".replace(" ", ""))
    packet = decode(data, None)
    assert packet == Connect(
        version=V5,
        client_id="c5",
        clean_start=True,
        keep_alive_s=10,
        properties=Properties(session_expiry_s=10, receive_maximum=20),
    )


def test_connect_sets_the_version_of_what_follows() -> None:
    decoder = PacketDecoder(packet_bytes_max=1000)
    decoder.feed(encode(Connect(version=V5, client_id="c", clean_start=True, keep_alive_s=0), V5))
    decoder.next_packet()
    assert decoder.version == V5


def test_published_bytes_are_those_of_the_specification() -> None:
    packet = Publish(topic="a/b", payload=b"\x00\xff", qos=1, packet_id=10, dup=True)
    assert encode(packet, V3_1_1) == bytes.fromhex("3a 09 0003 612f62 000a 00ff".replace(" ", ""))
    assert encode(packet, V5) == bytes.fromhex("3a 0a 0003 612f62 000a 00 00ff".replace(" ", ""))


def test_puback_of_5_0_is_short_for_success_and_tells_a_refusal() -> None:
    assert encode(Puback(packet_id=1), V5) == bytes.fromhex("40020001")
    refused = Puback(packet_id=1, code=0x99, properties=Properties(reason_string="no"))
    assert encode(refused, V5) == bytes.fromhex("40 09 0001 99 05 1f 0002 6e6f".replace(" ", ""))


def test_connack_of_3_1_1_has_no_properties() -> None:
    packet = Connack(code=0, session_present=True, properties=Properties(receive_maximum=5))
    assert encode(packet, V3_1_1) == bytes.fromhex("20020100")


def test_subscription_options_of_5_0_are_read() -> None:
    packet = decode(bytes.fromhex("82 08 0007 00 0002 612f 1d".replace(" ", "")), V5)
    wanted = Subscription(topic_filter="a/", qos=1, no_local=True, retain_as_published=True, retain_handling=1)
    assert packet == Subscribe(packet_id=7, subscriptions=(wanted,))


def test_padded_remaining_length_is_taken() -> None:
    assert decode(bytes.fromhex("c0 80 00".replace(" ", "")), V3_1_1) is not None


@pytest.mark.parametrize(
    ("what", "data", "version", "code"),
    [
        ("first packet is no CONNECT", "c000", None, ReasonCode.PROTOCOL_ERROR),
        ("another protocol", "10 0c 0004 48545450 04 02 0000 0000", None, ReasonCode.MALFORMED_PACKET),
        ("reserved connect flag", "10 0c 0004 4d515454 04 03 0000 0000", None, ReasonCode.MALFORMED_PACKET),
        ("will flags without a will", "10 0c 0004 4d515454 04 22 0000 0000", None, ReasonCode.MALFORMED_PACKET),
        ("password without username", "10 0e 0004 4d515454 04 42 0000 0000 0000", None, ReasonCode.MALFORMED_PACKET),
        ("bytes after the end", "10 0d 0004 4d515454 04 02 0000 0000 00", None, ReasonCode.MALFORMED_PACKET),
        ("QoS 3", "36 05 0001 61 0001", V3_1_1, ReasonCode.MALFORMED_PACKET),
        ("packet id zero", "32 05 0001 61 0000", V3_1_1, ReasonCode.PROTOCOL_ERROR),
        ("wildcard topic", "30 04 0001 23 00", V5, ReasonCode.TOPIC_NAME_INVALID),
        ("no topic", "30 03 0000 00", V5, ReasonCode.PROTOCOL_ERROR),
        ("invalid UTF-8", "30 04 0002 c328", V3_1_1, ReasonCode.MALFORMED_PACKET),
        ("surrogate in UTF-8", "30 05 0003 eda080", V3_1_1, ReasonCode.MALFORMED_PACKET),
        ("U+0000 in a topic", "30 03 0001 00", V3_1_1, ReasonCode.MALFORMED_PACKET),
        ("PUBREL without its flag", "60 02 0001", V3_1_1, ReasonCode.MALFORMED_PACKET),
        ("SUBSCRIBE without filters", "82 02 0001", V3_1_1, ReasonCode.PROTOCOL_ERROR),
        ("subscription of QoS 3", "82 06 0001 0001 61 03", V3_1_1, ReasonCode.PROTOCOL_ERROR),
        ("packet type 0", "00 00", V5, ReasonCode.MALFORMED_PACKET),
        ("AUTH in 3.1.1", "f0 00", V3_1_1, ReasonCode.MALFORMED_PACKET),
        ("unknown property", "30 06 0001 61 02 7f00", V5, ReasonCode.MALFORMED_PACKET),
        ("property of another packet", "30 07 0001 61 03 210001", V5, ReasonCode.PROTOCOL_ERROR),
        ("property twice", "30 08 0001 61 04 01000100", V5, ReasonCode.PROTOCOL_ERROR),
        ("padded property length", "30 05 0001 61 8000", V5, ReasonCode.MALFORMED_PACKET),
        ("five bytes of length", "30 ffffffff 01", V5, ReasonCode.MALFORMED_PACKET),
    ],
)
def test_malformed_packet_is_named(what: str, data: str, version: int | None, code: ReasonCode) -> None:
    assert code_of(bytes.fromhex(data.replace(" ", "")), version) == code


def test_3_1_and_unknown_levels_are_told_apart_from_garbage() -> None:
    for name, level in ((b"MQIsdp", 3), (b"MQTT", 6)):
        body = len(name).to_bytes(2, "big") + name + bytes((level, 2, 0, 0, 0, 0))
        with pytest.raises(UnsupportedVersion) as raised:
            decode(b"\x10" + bytes((len(body),)) + body, None)
        assert raised.value.level == level


def test_packet_above_the_limit_is_refused_by_its_header_alone() -> None:
    assert code_of(b"\x30" + write_variable(100_001)) == ReasonCode.PACKET_TOO_LARGE
    assert code_of(b"\x82" + write_variable(CONTROL_BYTES_MAX)) == ReasonCode.PACKET_TOO_LARGE


def test_flood_of_user_properties_is_refused_before_it_is_read() -> None:
    count = PROPERTIES_BYTES_MAX + 1
    body = write_text("a") + write_variable(count) + b"\x26\x00\x00\x00\x00" * (count // 5 + 1)
    assert code_of(b"\x30" + write_variable(len(body)) + body) == ReasonCode.PACKET_TOO_LARGE


def test_broken_decoder_stays_broken_and_keeps_nothing() -> None:
    decoder = PacketDecoder(packet_bytes_max=1000, version=V5)
    decoder.feed(b"\x00\x00")
    for _ in range(2):
        with pytest.raises(MalformedPacket):
            decoder.next_packet()
        decoder.feed(b"\xc0\x00" * 100)
    assert decoder.buffered_bytes == 0


def test_a_large_payload_is_held_once_also_when_it_is_complete() -> None:
    """Measured, since a bound on the bytes that are granted is worth nothing if they are held twice."""
    payload_bytes = 6_000_000
    wire = encode(Publish(topic="a", payload=bytes(payload_bytes), qos=1, packet_id=3), V3_1_1)
    decoder = PacketDecoder(packet_bytes_max=len(wire), version=V3_1_1)
    tracemalloc.start()
    try:
        for at in range(0, len(wire), 16_384):
            decoder.feed(memoryview(wire)[at : at + 16_384])
            packet = decoder.next_packet()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(packet, Publish)
    assert len(packet.payload) == payload_bytes
    assert peak < 1.05 * payload_bytes


def test_what_comes_behind_a_large_publish_is_not_lost() -> None:
    large = Publish(topic="a", payload=b"x" * LARGE_FRAME_BYTES, qos=1, packet_id=3)
    decoder = PacketDecoder(packet_bytes_max=100_000, version=V3_1_1)
    decoder.feed((encode(large, V3_1_1) + b"\xc0\x00") * 2)
    assert [decoder.next_packet() for _ in range(5)] == [large, Pingreq(), large, Pingreq(), None]


def test_oversized_publish_can_be_discarded_as_it_comes() -> None:
    decoder = PacketDecoder(packet_bytes_max=50_000, version=V3_1_1)
    wire = encode(Publish(topic="a", payload=bytes(80_000), qos=1, packet_id=3), V3_1_1)
    decoder.feed(wire[:20_000])
    head = decoder.peek_publish()
    assert head is not None
    assert (head.publish.topic, head.publish.packet_id, head.payload_bytes) == ("a", 3, 80_000)
    decoder.discard_packet()
    assert (decoder.discarding, decoder.buffered_bytes) == (True, 0)
    decoder.feed(wire[20_000:] + b"\xc0\x00")
    assert not decoder.discarding
    assert decoder.next_packet() is not None
