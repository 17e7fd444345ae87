"""The listener against clients that are wrong, slow, greedy or gone: each has its answer, its reason, its bound."""

import asyncio
import socket
from collections.abc import Callable

import pytest
import structlog
from structlog.typing import EventDict

from adapters.mqtt import listener_deadlines
from adapters.mqtt.codec import CONTROL_BYTES_MAX
from adapters.mqtt.codec_fields import write_text, write_variable
from adapters.mqtt.codec_packets import V5, Connack, Disconnect, Packet, Puback, Publish, Will
from adapters.mqtt.codec_properties import Properties
from adapters.mqtt.codec_reasons import ReasonCode
from adapters.mqtt.listener_budget import PUBLISH_OVERHEAD_BYTES
from adapters.mqtt.listener_holdings import Holdings
from gateway.errors import AdapterUnavailable
from tests.fakes.mqtt_device import VERSIONS, RawDevice
from tests.fakes.mqtt_listener import listening

RESULTS = "devices/cam-1/results"
SMALL = {"image_bytes_max": 64 * 1024, "reading_bytes_max": 1024}
both_versions = pytest.mark.parametrize("version", VERSIONS)


async def until(condition: Callable[[], object], seconds: float = 8.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 -- the things waited for have no event
            await asyncio.sleep(0.01)


def ending(packets: list[Packet]) -> int | None:
    last = packets[-1] if packets else None
    return last.code if isinstance(last, Disconnect) else None


def dropped_for(logs: list[EventDict]) -> list[str]:
    """The reasons of the connections that a log tells of as dropped."""
    return [entry["reason"] for entry in logs if entry["event"] == "mqtt_client_dropped"]


# --- what is not MQTT ---


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"\x00" * 50, b"\xff" * 50, b"\xc0\x00"],
    ids=["http", "tls", "zeros", "ones", "ping first"],
)
async def test_garbage_is_closed_and_counted(garbage: bytes) -> None:
    async with listening() as under, await RawDevice.dial(under.port) as device:
        device.send_bytes(garbage)
        assert await device.receive_until_closed() == []
        assert under.disconnects("protocol_error") == 1


async def test_malformed_packet_ends_the_connection_with_its_reason() -> None:
    async with listening() as under:
        async with await RawDevice.connect(under.port, version=V5) as device:
            device.send_bytes(b"\x30\x05\x00\x02\xc3\x28\x00")
            assert ending(await device.receive_until_closed()) == ReasonCode.MALFORMED_PACKET
        async with await RawDevice.connect(under.port) as device:
            device.send_bytes(b"\x30\x04\x00\x02\xc3\x28")
            assert await device.receive_until_closed() == []
        assert under.disconnects("malformed_packet") == 2


async def test_protocol_violations_are_named() -> None:
    second_connect = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00"
    violations = {
        second_connect: ReasonCode.PROTOCOL_ERROR,
        b"\x20\x03\x00\x00\x00": ReasonCode.PROTOCOL_ERROR,  # a CONNACK from a client
        b"\x30\x05\x00\x01#\x00x": ReasonCode.TOPIC_NAME_INVALID,
        b"\x30\x06\x00\x00\x03\x23\x00\x01": ReasonCode.TOPIC_ALIAS_INVALID,
        b"\xf0\x00": ReasonCode.PROTOCOL_ERROR,  # AUTH without an authentication method
    }
    async with listening() as under:
        for data, code in violations.items():
            async with await RawDevice.connect(under.port, version=V5) as device:
                device.send_bytes(data)
                assert ending(await device.receive_until_closed()) == code


async def test_mqtt_3_1_is_refused_with_return_code_1() -> None:
    async with listening() as under, await RawDevice.dial(under.port) as device:
        device.send_bytes(b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x02ab")
        assert await device.receive_until_closed() == [Connack(code=1)]
        assert under.disconnects("unsupported_protocol_version") == 1


async def test_later_protocol_version_is_refused_in_the_form_of_5_0() -> None:
    async with listening() as under, await RawDevice.dial(under.port, V5) as device:
        device.send_bytes(b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00")
        assert await device.receive_until_closed() == [Connack(code=0x84)]


async def test_empty_client_id_needs_a_clean_session_in_3_1_1() -> None:
    async with listening() as under, await RawDevice.connect(under.port, "", clean=False) as device:
        assert device.connack == Connack(code=2)


async def test_extended_authentication_is_refused() -> None:
    asks = Properties(authentication_method="SCRAM-SHA-1")
    async with listening() as under, await RawDevice.connect(under.port, version=V5, properties=asks) as device:
        assert device.connack is not None
        assert device.connack.code == ReasonCode.BAD_AUTHENTICATION_METHOD


# --- what is too large ---


async def test_oversized_publish_of_5_0_ends_the_connection_at_its_topic() -> None:
    async with listening(limits=SMALL) as under, await RawDevice.connect(under.port, version=V5) as device:
        assert device.connack is not None
        bytes_max = device.connack.properties.maximum_packet_bytes
        assert bytes_max == SMALL["image_bytes_max"] + 64 * 1024
        head = b"\x32" + write_variable(bytes_max) + write_text("devices/cam-1/images") + b"\x00\x05\x00"
        device.send_bytes(head + bytes(20_000))
        assert ending(await device.receive_until_closed()) == ReasonCode.PACKET_TOO_LARGE


async def test_oversized_publish_of_3_1_1_is_read_over_refused_and_reported() -> None:
    """3.1.1 can't be told the limit: closing would make the device send it again, for ever."""
    async with listening(limits=SMALL) as under, await RawDevice.connect(under.port, clean=False) as device:
        device.publish(bytes(300_000), packet_id=5)
        assert await device.receive() == Puback(packet_id=5)
        assert under.ingest.taken == []
        assert [payload_bytes for _, _, payload_bytes in under.ingest.refused] == [300_000]
        assert under.publishes("refused") == 1
        device.publish(b"next", packet_id=6)
        assert await device.receive() == Puback(packet_id=6)
        assert under.ingest.payloads == [b"next"]


async def test_oversized_publish_is_acknowledged_only_after_its_refusal_is_noted() -> None:
    async with listening(limits=SMALL) as under, await RawDevice.connect(under.port) as device:
        under.ingest.gate.clear()
        device.publish(bytes(300_000), packet_id=5)
        await device.ping()
        under.ingest.gate.set()
        assert await device.receive() == Puback(packet_id=5)


async def test_control_packets_are_small() -> None:
    async with listening() as under:
        async with await RawDevice.dial(under.port) as device:
            device.send_bytes(b"\x10" + write_variable(CONTROL_BYTES_MAX))
            assert await device.receive_until_closed() == []
        assert under.disconnects("packet_too_large") == 1


async def test_long_topic_is_refused() -> None:
    async with listening() as under, await RawDevice.connect(under.port, version=V5) as device:
        body = write_text("t" * 2000) + b"\x00x"
        device.send_bytes(b"\x30" + write_variable(len(body)) + body)
        assert ending(await device.receive_until_closed()) == ReasonCode.TOPIC_NAME_INVALID


async def test_bytes_held_over_all_connections_are_bounded() -> None:
    """Four devices begin a picture each; there is room for two: the others are not read until there is."""
    payload = bytes(60 * 1024)
    async with listening(limits=SMALL | {"image_bytes_max": 64 * 1024}) as under:
        most = 2 * (64 + 64) * 1024
        under.ingest.gate.clear()
        devices = [await RawDevice.connect(under.port, f"cam-{n}") for n in range(6)]
        for device in devices:
            device.publish(payload)
        await until(lambda: len(under.ingest.taken) >= 4)
        await asyncio.sleep(0.1)
        assert under.listener.held_bytes <= most
        assert len(under.ingest.taken) == most // (len(payload) + 30 + PUBLISH_OVERHEAD_BYTES)
        under.ingest.gate.set()
        for device in devices:
            assert await device.receive() == Puback(packet_id=1)
            device.abort()
        await until(lambda: under.listener.held_bytes == 0)


async def test_bytes_of_a_picture_that_broke_off_are_given_back() -> None:
    async with listening() as under:
        device = await RawDevice.connect(under.port)
        device.send_bytes(b"\x32" + write_variable(5_000_000) + write_text("devices/cam-1/images") + bytes(1000))
        await until(lambda: under.listener.held_bytes > 5_000_000)
        device.abort()
        await until(lambda: under.listener.held_bytes == 0)


async def test_device_that_waits_for_room_and_leaves_is_forgotten() -> None:
    """Its end is seen when its turn comes: a socket that is not read does not tell."""
    async with listening(limits=SMALL) as under:
        under.ingest.gate.clear()
        full = [await RawDevice.connect(under.port, f"full-{n}") for n in range(4)]
        for device in full:
            device.publish(bytes(60 * 1024))
        await until(lambda: len(under.ingest.taken) == 4)
        waiting = await RawDevice.connect(under.port, "waiting")
        waiting.publish(bytes(60 * 1024))
        await asyncio.sleep(0.1)
        waiting.abort()
        under.ingest.gate.set()
        await until(lambda: under.disconnects("lost") == 1)
        for device in full:
            await device.receive()
            device.abort()
        await until(lambda: under.listener.held_bytes == 0)


# --- who is late ---


async def test_silent_connection_is_closed_at_the_connect_deadline() -> None:
    async with listening(connect_timeout_s=0.3) as under, await RawDevice.dial(under.port) as device:
        assert await device.receive_until_closed() == []
        assert under.disconnects("connect_timeout") == 1


async def test_connect_that_trickles_in_is_closed_at_the_deadline() -> None:
    async with listening(connect_timeout_s=0.5) as under, await RawDevice.dial(under.port) as device:
        closed = asyncio.create_task(device.receive_until_closed())
        for byte in b"\x10\x7f\x00\x04MQTT\x04\x02\x00\x00\x00\x04" + bytes(100):
            device.send_bytes(bytes((byte,)))
            done, _ = await asyncio.wait({closed}, timeout=0.1)
            if done:
                break
        assert closed.done(), "each byte gave it more time"
        assert under.disconnects("connect_timeout") == 1


async def test_silence_beyond_one_and_a_half_keep_alives_ends_the_connection() -> None:
    will = Will(topic="devices/cam-1/gone", payload=b"help")
    async with (
        listening() as under,
        await RawDevice.connect(under.port, version=V5, keep_alive_s=1, will=will) as device,
    ):
        assert ending(await device.receive_until_closed()) == ReasonCode.KEEP_ALIVE_TIMEOUT
        assert under.disconnects("keep_alive_timeout") == 1
        assert [(status.state, status.will) for status in under.statuses] == [("online", None), ("lost", will)]


async def test_pings_keep_a_connection_alive() -> None:
    async with listening() as under, await RawDevice.connect(under.port, keep_alive_s=1) as device:
        for _ in range(6):
            await asyncio.sleep(0.4)
            await device.ping()


async def test_keep_alive_does_not_run_while_we_do_not_read() -> None:
    async with listening() as under, await RawDevice.connect(under.port, keep_alive_s=1) as device:
        under.ingest.gate.clear()
        for packet_id in range(1, 33):
            device.publish(packet_id=packet_id)
        await until(lambda: len(under.ingest.taken) == 32)
        await asyncio.sleep(2.2)
        under.ingest.gate.set()
        assert await device.receive() == Puback(packet_id=1)


async def test_packet_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_deadlines, "PACKET_TIMEOUT_S", 0.3)
    with structlog.testing.capture_logs() as logs:
        async with listening() as under, await RawDevice.connect(under.port) as device:
            device.send_bytes(b"\x32\xff\xff\x7f\x00\x01a")
            assert await device.receive_until_closed() == []
            assert under.disconnects("packet_timeout") == 1
    assert dropped_for(logs) == ["packet_timeout"]


# --- who does not listen ---


async def test_subscriber_that_never_reads_is_dropped() -> None:
    with structlog.testing.capture_logs() as logs:
        async with listening() as under, await RawDevice.connect(under.port, "deaf") as device:
            await device.subscribe(RESULTS, qos=0)
            device.stop_reading()
            for _ in range(2000):
                under.listener.deliver(RESULTS, bytes(10_000), qos=0)
                await asyncio.sleep(0)
                if under.disconnects("slow_reader"):
                    break
            assert under.disconnects("slow_reader") == 1
    assert dropped_for(logs) == ["slow_reader"]


async def test_device_that_reads_no_acknowledgements_is_not_read_and_then_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener_deadlines, "STALL_TIMEOUT_S", 0.3)
    async with listening() as under, await RawDevice.connect(under.port, "deaf") as device:
        await device.subscribe(RESULTS, qos=0)
        device.stop_reading()
        while not under.disconnects("slow_reader"):
            under.listener.deliver(RESULTS, bytes(10_000), qos=0)
            await asyncio.sleep(0.001)


async def test_devices_that_read_nothing_hold_a_bounded_amount_together() -> None:
    """Each may leave 256 KiB unread; a hundred of them may not leave 25 MiB."""
    bytes_max = 1024 * 1024
    async with listening() as under:
        parts = under.listener._parts
        parts.holdings = Holdings(bytes_max=bytes_max)
        deaf = [await RawDevice.connect(under.port, f"deaf-{n}") for n in range(8)]
        for device in deaf:
            await device.subscribe(RESULTS, qos=0)
            device.stop_reading()
        highest = 0
        while not under.disconnects("too_much_held"):
            under.listener.deliver(RESULTS, bytes(10_000), qos=0)
            await asyncio.sleep(0)
            highest = max(highest, sum(link._wire.unread_bytes for link in parts.open_links if not link.is_gone))
        assert bytes_max // 2 < highest <= bytes_max
        async with await RawDevice.connect(under.port, "cam-1") as device:
            device.publish(b"served", packet_id=9)
            assert await device.receive() == Puback(packet_id=9)
        for device in deaf:
            device.abort()
        await until(lambda: parts.holdings.held_bytes == 0)


async def test_packets_without_an_end_hold_a_bounded_amount_together() -> None:
    """Half a SUBSCRIBE of 30 kB each: allowed for one, not for a hundred."""
    async with listening() as under:
        parts = under.listener._parts
        parts.holdings = Holdings(bytes_max=256 * 1024)
        devices = [await RawDevice.connect(under.port, f"half-{n}") for n in range(20)]
        for device in devices:
            device.send_bytes(b"\x82" + write_variable(31_000) + bytes(30_000))
        await until(lambda: under.disconnects("too_much_held") >= 10)
        assert parts.holdings.held_bytes <= 256 * 1024
        for device in devices:
            device.abort()
        await until(lambda: parts.holdings.held_bytes == 0)


async def test_devices_that_send_fast_are_never_cut_for_what_is_held() -> None:
    """Pipelined messages wait in the socket, not with us, when others hold much."""
    async with listening(in_flight_max=2) as under:
        parts = under.listener._parts
        parts.holdings = Holdings(bytes_max=256 * 1024)
        under.ingest.gate.clear()
        devices = [await RawDevice.connect(under.port, f"cam-{n}") for n in range(20)]
        for device in devices:
            for packet_id in range(1, 33):
                device.publish(bytes(8_000), packet_id=packet_id)
        await asyncio.sleep(0.2)
        assert parts.holdings.held_bytes <= 256 * 1024
        under.ingest.gate.set()
        for device in devices:
            assert [await device.receive() for _ in range(32)] == [Puback(packet_id=n) for n in range(1, 33)]
            device.abort()


async def test_device_that_acknowledges_nothing_gets_a_bounded_number_of_messages() -> None:
    async with listening(queued_replies_max=4) as under, await RawDevice.connect(under.port) as device:
        await device.subscribe(RESULTS)
        for number in range(40):
            under.listener.deliver(RESULTS, b"%d" % number)
        for _ in range(16):
            assert isinstance(await device.receive(), Publish)
        await device.ping()
        assert under.replies("dropped") == 40 - 16 - 4


async def test_message_larger_than_the_device_takes_is_dropped_and_counted() -> None:
    small = Properties(maximum_packet_bytes=100)
    async with listening() as under, await RawDevice.connect(under.port, version=V5, properties=small) as device:
        await device.subscribe(RESULTS)
        under.listener.deliver(RESULTS, bytes(200))
        under.listener.deliver(RESULTS, b"fits")
        told = await device.receive()
        assert isinstance(told, Publish)
        assert told.payload == b"fits"
        assert under.replies("dropped") == 1


async def test_receive_maximum_of_the_device_is_kept() -> None:
    one = Properties(receive_maximum=1)
    async with listening() as under, await RawDevice.connect(under.port, version=V5, properties=one) as device:
        await device.subscribe(RESULTS)
        under.listener.deliver(RESULTS, b"1")
        under.listener.deliver(RESULTS, b"2")
        first = await device.receive()
        assert isinstance(first, Publish)
        await device.ping()
        device.send(Puback(packet_id=first.packet_id or 0))
        second = await device.receive()
        assert isinstance(second, Publish)
        assert second.payload == b"2"


# --- who is too many, or nobody's ---


async def test_connections_above_the_cap_are_closed() -> None:
    async with listening(connections_max=2) as under:
        inside = [await RawDevice.connect(under.port, f"cam-{n}") for n in range(2)]
        async with await RawDevice.dial(under.port) as outside:
            assert await outside.receive_until_closed() == []
        assert under.disconnects("too_many_connections") == 1
        for device in inside:
            await device.ping()
            await device.leave()
        async with await RawDevice.connect(under.port, "cam-3") as device:
            await device.ping()


async def test_an_address_that_fills_the_listener_gives_way_to_another() -> None:
    async with listening(connections_max=3) as under, await RawDevice.dial(under.port) as silent:
        inside = [await RawDevice.connect(under.port, f"cam-{n}") for n in range(2)]
        first = await RawDevice.connect(under.port, "good-1", local="127.0.0.2")
        assert await silent.receive_until_closed() == []  # what has not said who it is goes first
        async with await RawDevice.dial(under.port, local="127.0.0.2") as second:
            assert await second.receive_until_closed() == []  # both hold as many: nobody is put out
        for device in (first, *inside):
            await device.ping()
            await device.leave()
        assert (under.disconnects("gave_way"), under.disconnects("too_many_connections")) == (1, 1)


async def test_addresses_that_are_not_allowed_are_closed() -> None:
    async with listening(allowed_networks=("10.0.0.0/8",)) as under, await RawDevice.dial(under.port) as device:
        assert await device.receive_until_closed() == []
        assert under.disconnects("address_not_allowed") == 1


@both_versions
async def test_client_id_used_twice_ends_the_older_connection(version: int) -> None:
    will = Will(topic="w", payload=b"not told: the device is back")
    async with (
        listening() as under,
        await RawDevice.connect(under.port, version=version, will=will) as older,
        await RawDevice.connect(under.port, version=version) as newer,
    ):
        assert ending(await older.receive_until_closed()) == (ReasonCode.SESSION_TAKEN_OVER if version == V5 else None)
        newer.publish(b"mine")
        assert await newer.receive() == Puback(packet_id=1)
        assert under.disconnects("taken_over") == 1
        assert [status.state for status in under.statuses] == ["online", "online"]


async def test_publish_of_the_older_connection_is_not_acknowledged_on_the_newer() -> None:
    async with listening() as under, await RawDevice.connect(under.port) as older:
        under.ingest.gate.clear()
        older.publish(b"old", packet_id=8)
        await until(lambda: under.ingest.taken)
        async with await RawDevice.connect(under.port) as newer:
            under.ingest.gate.set()
            await until(lambda: under.ingest.stored)
            await newer.ping()


async def test_many_idle_connections_are_served_and_cost_little() -> None:
    """The number is small here; benchmarks/mqtt_connections.py tells the memory of each at a thousand."""
    async with listening() as under:
        devices = await asyncio.gather(*(RawDevice.connect(under.port, f"cam-{n}") for n in range(200)))
        assert under.listener.held_bytes == 0
        await devices[-1].ping()
        for device in devices:
            device.abort()
        await until(lambda: under.disconnects("lost") == 200)


# --- wills ---


@both_versions
async def test_will_is_not_told_after_a_disconnect(version: int) -> None:
    will = Will(topic="w", payload=b"x")
    async with listening() as under:
        device = await RawDevice.connect(under.port, version=version, will=will)
        await device.leave()
        assert [(status.state, status.will) for status in under.statuses] == [("online", None), ("offline", None)]


async def test_will_is_told_when_the_device_asks_for_it() -> None:
    will = Will(topic="w", payload=b"x")
    async with listening() as under:
        device = await RawDevice.connect(under.port, version=V5, will=will)
        await device.leave(code=4)
        assert [(status.state, status.will) for status in under.statuses] == [("online", None), ("offline", will)]


async def test_will_is_told_when_the_connection_breaks() -> None:
    will = Will(topic="w", payload=b"x")
    async with listening() as under:
        device = await RawDevice.connect(under.port, will=will)
        device.abort()
        await until(lambda: len(under.statuses) == 2)
        assert (under.statuses[1].state, under.statuses[1].will) == ("lost", will)


# --- the port ---


async def test_busy_port_is_said_in_one_line_with_the_cure() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AdapterUnavailable) as raised:
            async with listening(listen=f"127.0.0.1:{port}"):
                pass
    text = str(raised.value)
    assert "\n" not in text
    assert f"port {port} on 127.0.0.1 is taken" in text
    assert "mqtt.listen" in text
