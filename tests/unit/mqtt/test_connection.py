"""The pure state of one connection: what blocks it, what it owes, what it never says."""

import pytest

from adapters.mqtt.codec import PacketDecoder, encode
from adapters.mqtt.codec_packets import V3_1_1, V5, Connack, Connect, Packet, Pingreq, Pingresp, Puback, Publish
from adapters.mqtt.connection import Connection, State
from adapters.mqtt.connection_events import (
    TAKEN,
    ConnectionEnded,
    ConnectionLimits,
    ConnectRequested,
    PublishAnnounced,
    PublishReceived,
    PublishTooLarge,
)
from adapters.mqtt.sessions import SessionKey, Sessions

WINDOW = 3
PACKET_BYTES_MAX = 60_000


def connection() -> Connection:
    limits = ConnectionLimits(packet_bytes_max=PACKET_BYTES_MAX, window=WINDOW)
    return Connection(limits=limits, sessions=Sessions(sessions_max=10, queued_max=5, waiting_bytes_max=4_000_000))


def opened(version: int = V3_1_1) -> Connection:
    one = connection()
    one.receive_data(encode(Connect(version=version, client_id="c", clean_start=True, keep_alive_s=0), version))
    assert isinstance(one.next_event(), ConnectRequested)
    key = SessionKey(client_id="c", device_id=None)
    session, present = one._sessions.open(key, clean_start=True, expiry_s=0, new_life="1")
    one.accept(session, present=present)
    one.data_to_send()
    return one


def publish(packet_id: int, payload: bytes = b"x") -> bytes:
    return encode(Publish(topic="t", payload=payload, qos=1, packet_id=packet_id), V3_1_1)


def sent(one: Connection, version: int = V3_1_1) -> list[Packet]:
    decoder = PacketDecoder(packet_bytes_max=10_000, version=version)
    decoder.feed(one.data_to_send())
    packets = []
    while (packet := decoder.next_packet()) is not None:
        packets.append(packet)
    return packets


def received(one: Connection) -> PublishReceived:
    event = one.next_event()
    assert isinstance(event, PublishAnnounced)
    assert one.next_event() is None
    one.grant()
    taken = one.next_event()
    assert isinstance(taken, PublishReceived)
    return taken


def test_nothing_is_handled_before_the_connect_is_answered() -> None:
    one = connection()
    connect = Connect(version=V3_1_1, client_id="c", clean_start=True, keep_alive_s=0)
    one.receive_data(encode(connect, V3_1_1) + encode(Pingreq(), V3_1_1))
    assert one.next_event() == ConnectRequested(connect=connect)
    assert one.next_event() is None
    assert not one.wants_data
    session, _ = one._sessions.open(
        SessionKey(client_id="c", device_id=None), clean_start=True, expiry_s=0, new_life="1"
    )
    one.accept(session, present=False)
    assert one.next_event() is None
    assert sent(one) == [Connack(code=0), Pingresp()]


def test_publish_is_announced_by_its_header_and_waits_for_the_grant() -> None:
    one = opened()
    data = publish(1, bytes(1000))
    one.receive_data(data[:3])
    assert one.next_event() == PublishAnnounced(frame_bytes=len(data))
    wanted = [one.wants_data]
    one.grant()
    wanted.append(one.wants_data)
    assert wanted == [False, True]
    one.receive_data(data[3:])
    event = one.next_event()
    assert isinstance(event, PublishReceived)
    assert event.publish.payload == bytes(1000)


def test_full_window_blocks_everything_behind_it() -> None:
    one = opened()
    one.receive_data(b"".join(publish(packet_id) for packet_id in range(1, WINDOW + 2)) + encode(Pingreq(), V3_1_1))
    tickets = [received(one).ticket for _ in range(WINDOW)]
    assert one.next_event() is None
    assert not one.wants_data
    one.settle(tickets[0], TAKEN)
    received(one)
    assert sent(one) == [Puback(packet_id=1)]


def test_acknowledgements_wait_for_those_before_them() -> None:
    one = opened()
    one.receive_data(publish(1) + publish(2))
    first, second = received(one).ticket, received(one).ticket
    one.settle(second, TAKEN)
    assert sent(one) == []
    one.settle(first, TAKEN)
    assert sent(one) == [Puback(packet_id=1), Puback(packet_id=2)]


def test_nothing_is_acknowledged_after_the_end() -> None:
    one = opened()
    one.receive_data(publish(1))
    ticket = received(one).ticket
    one.lose("lost")
    one.settle(ticket, TAKEN)
    assert one.data_to_send() == b""
    assert isinstance(one.next_event(), ConnectionEnded)
    assert one.state is State.ENDED


def test_oversized_publish_of_3_1_1_is_skipped_and_keeps_its_place_in_the_order() -> None:
    one = opened()
    one.receive_data(publish(1) + publish(2, bytes(PACKET_BYTES_MAX)) + publish(3))
    first = received(one).ticket
    skipped = one.next_event()
    assert isinstance(skipped, PublishTooLarge)
    third = received(one).ticket
    one.settle(third, TAKEN)
    one.settle(skipped.ticket, TAKEN)
    assert sent(one) == []
    one.settle(first, TAKEN)
    assert sent(one) == [Puback(packet_id=packet_id) for packet_id in (1, 2, 3)]


def test_oversized_publish_of_5_0_is_told_when_its_topic_came_and_ends_the_connection() -> None:
    one = opened(V5)
    data = encode(Publish(topic="devices/cam-1/images", payload=bytes(PACKET_BYTES_MAX), qos=1, packet_id=2), V5)
    for at in range(0, len(data), 100):
        one.receive_data(data[at : at + 100])
        if (event := one.next_event()) is not None:
            break
    assert isinstance(event, PublishTooLarge)
    assert (event.publish.topic, event.publish.payload) == ("devices/cam-1/images", b"")
    assert event.payload_bytes == PACKET_BYTES_MAX
    ended = one.next_event()
    assert isinstance(ended, ConnectionEnded)
    assert ended.reason == "packet_too_large"


@pytest.mark.parametrize("version", [V3_1_1, V5])
def test_end_is_told_once(version: int) -> None:
    one = opened(version)
    one.receive_data(b"\x00\x00")
    event = one.next_event()
    assert isinstance(event, ConnectionEnded)
    assert event.reason == "malformed_packet"
    one.lose("lost")
    one.receive_data(b"\xc0\x00")
    assert one.next_event() is None
