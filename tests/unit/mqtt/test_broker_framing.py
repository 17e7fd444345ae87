"""Packets are the same however the bytes were cut, and a sender's size never is our memory."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.broker_framing import CUT_BYTES, PUBLISH, Framer, NotMqtt, Packet

CAP = 300
PUBLISHES = st.tuples(
    st.integers(0x30, 0x3F),
    st.builds(
        lambda topic, rest: len(topic).to_bytes(2) + topic + rest,
        st.binary(max_size=20),
        st.binary(max_size=2 * CAP),
    ),
)
PACKETS = st.lists(st.tuples(st.integers(0x10, 0xFF), st.binary(max_size=2 * CAP)) | PUBLISHES, max_size=8)


def encoded(command: int, body: bytes) -> bytes:
    length, header = len(body), bytearray([command])
    while True:
        length, low = divmod(length, 128)
        header.append(low | (0x80 if length else 0))
        if not length:
            return bytes(header) + body


def packets_of(framer: Framer) -> list[Packet]:
    found = []
    while (packet := framer.next_packet()) is not None:
        found.append(packet)
    return found


@given(PACKETS, st.data())
def test_packets_do_not_depend_on_how_the_bytes_were_cut(packets: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(encoded(*packet) for packet in packets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    framer = Framer(body_bytes_max=CAP)
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        framer.feed(stream[start:end])
        found += packets_of(framer)
    assert found == [expected(command, body) for command, body in packets]


def expected(command: int, body: bytes) -> Packet:
    """What a packet becomes, said in the plainest way."""
    if command & 0xF0 != PUBLISH:
        return Packet(command, body[:CAP], omitted_bytes=max(0, len(body) - CAP))
    head_bytes = 2 + int.from_bytes(body[:2]) + (2 if command & 0x06 else 0)
    if len(body) < max(2, head_bytes):
        return Packet(command, body)
    head, payload = body[:head_bytes], body[head_bytes:]
    return Packet(command, head, payload) if len(body) <= CAP else Packet(command, head, b"", len(payload))


def publish_body(payload: bytes, topic: bytes = b"devices/d1/images") -> bytes:
    return len(topic).to_bytes(2) + topic + b"\x00\x07" + payload


def test_a_publish_is_its_topic_its_packet_id_and_its_payload() -> None:
    framer = Framer(body_bytes_max=CAP)
    framer.feed(
        encoded(0x32, publish_body(b"payload")) + encoded(0x30, b"\x00\x01tx") + encoded(0x3C, b"\x00\x01t\x01\x02")
    )
    first, second, third = packets_of(framer)
    assert (first.qos, first.topic, first.packet_id, first.payload) == (1, b"devices/d1/images", 7, b"payload")
    assert (second.qos, second.topic, second.packet_id, second.payload) == (0, b"t", None, b"x")
    assert (third.qos, third.topic, third.packet_id, third.payload) == (2, b"t", 258, b"")


def test_of_a_publish_beyond_the_cap_room_is_asked_for_its_topic_only() -> None:
    framer = Framer(body_bytes_max=8_000_000)
    framer.feed(encoded(0x32, publish_body(bytes(9_000_000)))[:100_000])
    assert framer.expected_bytes() == CUT_BYTES
    assert framer.next_packet() is None
    assert len(framer._body) + len(framer._unread) < 100


def test_a_payload_is_held_once_also_when_it_is_complete() -> None:
    payload_bytes = 6_000_000
    wire = encoded(0x32, publish_body(bytes(payload_bytes)))
    framer = Framer(body_bytes_max=len(wire))
    tracemalloc.start()
    try:
        for at in range(0, len(wire), 65_536):
            framer.feed(wire[at : at + 65_536])
            packet = framer.next_packet()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert packet is not None
    assert packet.payload == bytes(payload_bytes)
    assert peak < 1.05 * payload_bytes


def test_the_size_of_a_packet_is_known_before_it_is_taken() -> None:
    framer = Framer(body_bytes_max=CAP)
    framer.feed(encoded(0x90, b"x" * 200) + encoded(0x30, publish_body(b"")[:10] + b"y" * 90))
    assert framer.expected_bytes() == 200
    framer.next_packet()
    assert framer.expected_bytes() == 100


def test_more_waits_until_everything_whole_was_taken() -> None:
    framer = Framer(body_bytes_max=CAP)
    framer.feed(encoded(0x90, b"one") + encoded(0x90, b"two") + b"\x30")
    assert framer.next_packet() is not None
    assert framer.has_more
    assert framer.next_packet() is not None
    assert framer.next_packet() is None
    assert not framer.has_more


def test_a_length_of_five_bytes_is_no_mqtt() -> None:
    framer = Framer(body_bytes_max=CAP)
    framer.feed(b"\x30\xff\xff\xff\xff\x01")
    with pytest.raises(NotMqtt):
        framer.next_packet()
