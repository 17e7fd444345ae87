"""Packets are the same however the bytes were cut, and a sender's size never is our memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.broker_framing import CUT_BYTES, Framer, NotMqtt, Packet

CAP = 300
PACKETS = st.lists(st.tuples(st.integers(0x10, 0xFF), st.binary(max_size=2 * CAP)), max_size=8)


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
    assert found == [Packet(command, body[:CAP], max(0, len(body) - CAP)) for command, body in packets]


def test_what_is_beyond_the_cap_is_not_kept() -> None:
    framer = Framer(body_bytes_max=CAP)
    framer.feed(encoded(0x30, b"x" * 200_000)[:100_000])
    assert framer.next_packet() is None
    assert len(framer._body) == CAP
    assert framer.expected_bytes() == CAP


def test_of_a_packet_beyond_the_cap_room_is_asked_for_its_topic_only() -> None:
    framer = Framer(body_bytes_max=8_000_000)
    framer.feed(encoded(0x32, bytes(9_000_000))[:100_000])
    assert framer.expected_bytes() == CUT_BYTES
    assert framer.next_packet() is None
    assert len(framer._body) == CUT_BYTES


def test_the_size_of_a_packet_is_known_before_it_is_taken() -> None:
    framer = Framer(body_bytes_max=CAP)
    framer.feed(encoded(0x30, b"x" * 200) + encoded(0x30, b"y" * 100))
    assert framer.expected_bytes() == 200
    framer.next_packet()
    assert framer.expected_bytes() == 100


def test_more_waits_until_everything_whole_was_taken() -> None:
    framer = Framer(body_bytes_max=CAP)
    framer.feed(encoded(0x30, b"one") + encoded(0x30, b"two") + b"\x30")
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
