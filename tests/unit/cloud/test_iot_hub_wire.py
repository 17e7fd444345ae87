"""The stand-in's pure parts: MQTT and websocket codecs, topics, signatures, fault switches."""

import base64
import contextlib
import random
import struct
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulators.iot_hub import faults, mqtt_wire, sas, topics, websocket_wire

PUBLISHES = st.lists(
    st.builds(
        mqtt_wire.Publish,
        topic=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
        payload=st.binary(max_size=300),
        qos=st.just(1),
        packet_id=st.integers(1, 65535),
        duplicate=st.booleans(),
    ),
    max_size=4,
)


@given(packets=PUBLISHES, cut=st.integers(0, 400))
def test_packets_come_out_as_they_went_in_however_the_stream_is_cut(packets: list[mqtt_wire.Publish], cut: int) -> None:
    stream = b"".join(mqtt_wire.publish(packet) for packet in packets)
    decoder = mqtt_wire.PacketDecoder()
    assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == packets


@given(noise=st.binary(max_size=200))
def test_noise_is_waited_for_or_malformed(noise: bytes) -> None:
    with contextlib.suppress(mqtt_wire.MalformedPacket):
        mqtt_wire.PacketDecoder().feed(noise)


@pytest.mark.parametrize(
    "stream",
    [
        bytes((0x10, 0xFF, 0xFF, 0xFF, 0xFF)),  # five bytes of length
        bytes((0x34, 5, 0, 1)) + b"a\x00\x01",  # QoS 2
        bytes((0xF0, 0)),  # type 15
        bytes((0x10, 7)) + b"\x00\x04MQTX\x04",
    ],
)
def test_what_is_not_mqtt_as_iot_hub_knows_it_is_malformed(stream: bytes) -> None:
    with pytest.raises(mqtt_wire.MalformedPacket):
        mqtt_wire.PacketDecoder().feed(stream)


def test_a_connect_is_read() -> None:
    def text(value: str) -> bytes:
        return struct.pack("!H", len(value)) + value.encode()

    body = text("MQTT") + b"\x04\xc0\x00\x0f" + text("gw1") + text("user") + text("secret")
    [packet] = mqtt_wire.PacketDecoder().feed(bytes((0x10, len(body))) + body)
    assert packet == mqtt_wire.Connect(
        client_id="gw1", username="user", password="secret", keep_alive_s=15, clean_session=False
    )


def _masked(payload: bytes, opcode: int = 2) -> bytes:
    mask = random.Random(len(payload)).randbytes(4)
    length = len(payload)
    if length < 126:
        head = bytes((0x80 | opcode, 0x80 | length))
    else:
        head = bytes((0x80 | opcode, 0x80 | 126)) + struct.pack("!H", length)
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


@given(payloads=st.lists(st.binary(max_size=300), max_size=4), cut=st.integers(0, 1000))
def test_websocket_frames_carry_the_stream_however_it_is_cut(payloads: list[bytes], cut: int) -> None:
    stream = b"".join(_masked(payload) for payload in payloads)
    decoder = websocket_wire.FrameDecoder()
    received = decoder.feed(stream[:cut]).payload + decoder.feed(stream[cut:]).payload
    assert received == b"".join(payloads)


def test_a_websocket_ping_is_answered_and_a_close_is_a_close() -> None:
    received = websocket_wire.FrameDecoder().feed(_masked(b"hi", opcode=9) + _masked(b"", opcode=8))
    assert received.answers == websocket_wire.frame(b"hi", opcode=10) + websocket_wire.frame(b"", opcode=8)
    assert received.closed


def test_the_upgrade_is_answered_as_in_the_rfcs_example() -> None:
    request = (
        b"GET /$iothub/websocket HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Protocol: mqtt"
    )
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in websocket_wire.upgrade_response(request)


@pytest.mark.parametrize(
    "request_head", [b"GET / HTTP/1.1\r\nSec-WebSocket-Protocol: mqtt", b"GET /$iothub/websocket HTTP/1.1"]
)
def test_another_path_or_protocol_is_not_iot_hubs(request_head: bytes) -> None:
    with pytest.raises(websocket_wire.MalformedFrame):
        websocket_wire.upgrade_response(request_head)


KEY = base64.b64encode(b"k" * 32).decode()
RESOURCE = "hub/devices/gw1"


def _token(resource: str = RESOURCE, expiry: str = "2000", key: str = KEY) -> str:
    encoded = quote(resource, safe="")
    return f"SharedAccessSignature sr={encoded}&sig={quote(sas.signature(encoded, expiry, key), safe='')}&se={expiry}"


def test_a_token_with_one_of_the_keys_opens() -> None:
    other = base64.b64encode(b"o" * 32).decode()
    assert sas.refusal(_token(), resource=RESOURCE, keys=(other, KEY), now=1000) is None


@pytest.mark.parametrize(
    ("token", "now", "says"),
    [
        (_token(), 2000.0, "expired"),
        (_token(resource="hub/devices/gw2"), 1000.0, "another resource"),
        (_token(key=base64.b64encode(b"x").decode()), 1000.0, "another key"),
        (_token().replace("se=2000", "se=9000"), 1000.0, "another key"),
        ("password", 1000.0, "no shared access signature"),
        ("SharedAccessSignature nonsense", 1000.0, "another resource"),
    ],
)
def test_any_other_token_is_refused_with_its_reason(token: str, now: float, says: str) -> None:
    assert says in (sas.refusal(token, resource=RESOURCE, keys=(KEY,), now=now) or "")


def test_telemetry_properties_are_read_and_a_plus_stays_a_plus() -> None:
    found = topics.understand("gw1", "devices/gw1/messages/events/%24.mid=m%201&a=b+c&empty=&flag")
    assert found == topics.Telemetry(properties={"$.mid": "m 1", "a": "b+c", "empty": "", "flag": ""})


@pytest.mark.parametrize(
    "topic", ["devices/gw2/messages/events/", "devices/gw1/messages", "telemetry", "$iothub/other/", "devices/gw1/x/"]
)
def test_other_topics_than_iot_hubs_mean_nothing(topic: str) -> None:
    assert topics.understand("gw1", topic) is None


@pytest.mark.parametrize("topic_filter", ["#", "devices/gw2/messages/devicebound/#", "$iothub/#"])
def test_other_filters_than_iot_hubs_are_not_granted(topic_filter: str) -> None:
    assert not topics.may_subscribe("gw1", topic_filter)


def test_a_modules_topics_are_its_own() -> None:
    assert topics.understand("gw1/m", "devices/gw1/modules/m/messages/events/") == topics.Telemetry(properties={})
    assert topics.understand("gw1/m", "devices/gw1/messages/events/") is None


@pytest.mark.parametrize(
    ("value", "says"),
    [([], "object"), ({"no_pubacks": True}, "unknown"), ({"no_puback": 1}, "bool"), ({"drop_after": True}, "int")],
)
def test_a_mistaken_fault_switch_is_named(value: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        faults.from_json(value)


def test_fault_switches_travel_as_json() -> None:
    switched = faults.Faults(puback_delay_s=1, drop_after=3, poison_text="x")
    assert faults.from_json(faults.to_json(switched)) == switched
    assert faults.from_json({}) == faults.Faults()
