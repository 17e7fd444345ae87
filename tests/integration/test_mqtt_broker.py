"""The broker client with a real mosquitto: what is acknowledged, what comes again, what devices hear."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from adapters.mqtt.broker_session import FILE_NAME
from adapters.mqtt.contract import Inbound, Later, Outcome
from gateway.settings import LimitsSettings
from tests.fakes.broker_client import READINGS, forget, listening_device, make_client, running_client
from tests.fakes.ingest import REFUSED, FakeIngest
from tests.fakes.intake import RecordingMeter
from tests.fakes.mosquitto import Mosquitto, Publisher, end_device, needs_mosquitto, until
from tests.fakes.mqtt_witness import MqttWitness

pytestmark = needs_mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


async def test_what_devices_publish_is_taken_and_acknowledged(broker: Mosquitto, tmp_path: Path) -> None:
    ingest = FakeIngest()
    async with running_client(broker.url, tmp_path, ingest) as client:
        with Publisher(broker) as device:
            for number in range(100):
                device.publish(str(number), READINGS, b"%d" % number)
            await until(lambda: len(ingest.stored) == 100)
        assert client.describe() == broker.url
    assert sorted(ingest.payloads, key=int) == [b"%d" % number for number in range(100)]
    again = FakeIngest()
    async with running_client(broker.url, tmp_path, again):
        await asyncio.sleep(0.3)
    assert again.taken == [], "the broker delivered something again that was acknowledged"


async def test_what_was_not_committed_when_the_gateway_died_comes_again_marked(
    broker: Mosquitto, tmp_path: Path
) -> None:
    ingest, heir = FakeIngest(), FakeIngest()
    client = make_client(broker.url, tmp_path, ingest)
    await client.start()
    ingest.gate.clear()
    with Publisher(broker) as device:
        device.publish("1", READINGS, b"one")
        await until(lambda: len(ingest.taken) == 1)
    forget(client)
    async with running_client(broker.url, tmp_path, heir):
        await until(lambda: len(heir.stored) == 1)
    first, again = ingest.taken[0], heir.taken[0]
    assert (first.dup, again.dup) == (False, True)
    assert (again.session, again.packet_id, again.payload) == (first.session, first.packet_id, first.payload)


async def test_what_was_published_while_the_gateway_was_away_is_delivered(broker: Mosquitto, tmp_path: Path) -> None:
    async with running_client(broker.url, tmp_path, FakeIngest()):
        pass
    with Publisher(broker) as device:
        for number in range(2000):
            device.publish(str(number), READINGS, b"%d" % number, qos=number % 2)
        device.wait_acknowledged(2000)
    ingest = FakeIngest()
    async with running_client(broker.url, tmp_path, ingest):
        await until(lambda: len(ingest.stored) == 2000)


async def test_a_refused_message_is_reported_and_blocks_nothing(broker: Mosquitto, tmp_path: Path) -> None:
    ingest = FakeIngest(answer=lambda inbound: REFUSED if inbound.payload == b"poison" else ingest._store(inbound))
    async with running_client(broker.url, tmp_path, ingest):
        with listening_device(broker, "devices/+/results") as heard, Publisher(broker) as device:
            device.publish("poison", READINGS, b"poison")
            device.publish("good", READINGS, b"good")
            await until(lambda: len(heard) == 2)
    assert json.loads(heard[0][1])["reason"] == "not_an_image"
    assert json.loads(heard[1][1])["status"] == "committed"
    again = FakeIngest()
    async with running_client(broker.url, tmp_path, again):
        await asyncio.sleep(0.3)
    assert again.taken == []


async def test_notices_reach_the_device(broker: Mosquitto, tmp_path: Path) -> None:
    ingest = FakeIngest()
    async with running_client(broker.url, tmp_path, ingest):
        with listening_device(broker, "devices/+/results") as heard:
            ingest.pending_notices.append(("devices/d1/results", b"dropped"))
            await until(lambda: heard == [("devices/d1/results", b"dropped")])


async def test_more_is_not_read_than_may_be_held(broker: Mosquitto, tmp_path: Path) -> None:
    ingest = FakeIngest()
    ingest.gate.clear()
    async with running_client(broker.url, tmp_path, ingest, in_flight_max=4):
        with Publisher(broker) as device:
            for number in range(60):
                device.publish(str(number), READINGS, b"%d" % number)
            device.wait_acknowledged(60)
            await asyncio.sleep(0.2)
            assert len(ingest.taken) == 4
            ingest.gate.set()
            await until(lambda: len(ingest.stored) == 60)
    assert ingest.concurrent_max == 4


async def test_bytes_held_are_bounded_too(broker: Mosquitto, tmp_path: Path) -> None:
    ingest = FakeIngest()
    ingest.gate.clear()
    limits = LimitsSettings(image_bytes_max=64 * 1024)
    async with running_client(broker.url, tmp_path, ingest, limits=limits) as client:
        with Publisher(broker) as device:
            for number in range(20):
                device.publish(str(number), "devices/d1/images", bytes([number]) * 60_000)
            device.wait_acknowledged(20)
            await asyncio.sleep(0.2)
            connection = client._connection
            assert connection is not None
            assert sum(len(inbound.payload) for inbound in ingest.taken) <= limits.mqtt_buffered_bytes_max
            assert len(connection.link._framer._unread) <= 128 * 1024
            ingest.gate.set()
            await until(lambda: len(ingest.stored) == 20)


async def test_a_message_beyond_the_limit_is_not_kept_and_refused_with_its_true_size(
    broker: Mosquitto, tmp_path: Path
) -> None:
    ingest = FakeIngest()
    limits = LimitsSettings(image_bytes_max=100_000)
    async with running_client(broker.url, tmp_path, ingest, limits=limits):
        with Publisher(broker) as device:
            device.publish("huge", "devices/d1/images", b"x" * 5_000_000)
            device.publish("next", "devices/d1/images", b"next")
            await until(lambda: ingest.payloads == [b"next"])
    ((inbound, error, payload_bytes),) = ingest.refused
    assert (inbound.topic, inbound.payload) == ("devices/d1/images", b"")
    assert (error.reason, payload_bytes) == ("payload_too_large", 5_000_000)


async def test_what_another_program_subscribed_to_at_qos_2_is_taken_once(broker: Mosquitto, tmp_path: Path) -> None:
    """Under our client id, before us: the broker delivers at QoS 2 what waits in that session."""
    other = mqtt.Client("gw-1", clean_session=False)
    subscribed = threading.Event()
    other.on_subscribe = lambda *_: subscribed.set()
    other.connect("127.0.0.1", broker.port)
    other.loop_start()
    other.subscribe(READINGS, 2)
    assert subscribed.wait(10)
    end_device(other)
    with Publisher(broker) as device:
        for number in range(3):
            device.publish(str(number), READINGS, b"%d" % number, qos=2)
        device.wait_acknowledged(3)
    ingest, again = FakeIngest(), FakeIngest()
    async with running_client(broker.url, tmp_path, ingest):
        await until(lambda: len(ingest.stored) == 3)
        assert {inbound.qos for inbound in ingest.stored} == {2}
        await asyncio.sleep(0.2)  # PUBREL and PUBCOMP
    async with running_client(broker.url, tmp_path, again):
        await asyncio.sleep(0.3)
    assert again.taken == []


async def test_a_held_message_gives_the_connection_up_and_comes_again(broker: Mosquitto, tmp_path: Path) -> None:
    def answer(inbound: Inbound) -> Outcome:
        if inbound.dup:
            return ingest._store(inbound)
        return Later(reason="outbox_full", detail="full", retry_after_s=0.05)

    ingest, meter = FakeIngest(answer=answer), RecordingMeter()
    async with running_client(broker.url, tmp_path, ingest, hold_max_s=0.3, meter=meter):
        with Publisher(broker) as device:
            device.publish("1", READINGS, b"one")
            await until(lambda: len(ingest.stored) == 1)
    assert ingest.stored[0].dup
    assert meter.counts("gateway_mqtt_broker_sessions_total", reason="held_too_long") == 1


async def test_pings_go_out_while_nothing_is_read(broker: Mosquitto, tmp_path: Path) -> None:
    ingest, meter = FakeIngest(), RecordingMeter()
    ingest.gate.clear()
    with MqttWitness(broker.port) as witness:
        async with running_client(witness.url, tmp_path, ingest, in_flight_max=1, meter=meter) as client:
            assert client._connection is not None
            client._connection.link._keepalive.keepalive_s = 0.3  # the least setting, 5, would keep the test waiting
            with Publisher(broker) as device:
                for number in range(3):
                    device.publish(str(number), READINGS, b"%d" % number)
                await until(lambda: len(ingest.taken) == 1)
                before = witness.pings
                await until(lambda: witness.pings >= before + 3)
                assert len(ingest.taken) == 1
                ingest.gate.set()
                await until(lambda: len(ingest.stored) == 3)
    assert not any(name == "gateway_mqtt_broker_sessions_total" for name, _ in meter.counted)


async def test_stopping_finishes_what_is_being_committed_and_acknowledges_it(broker: Mosquitto, tmp_path: Path) -> None:
    ingest = FakeIngest()
    ingest.gate.clear()
    client = make_client(broker.url, tmp_path, ingest)
    await client.start()
    with Publisher(broker) as device:
        for number in range(10):
            device.publish(str(number), READINGS, b"%d" % number)
        await until(lambda: len(ingest.taken) == 10)
    stopping = asyncio.create_task(client.stop(4))
    await asyncio.sleep(0.1)
    ingest.gate.set()
    await stopping
    assert len(ingest.stored) == 10
    again = FakeIngest()
    async with running_client(broker.url, tmp_path, again):
        await asyncio.sleep(0.3)
    assert again.taken == []
    assert "Client gw-1 disconnected." in broker.log, "no DISCONNECT was sent"


async def test_stopping_leaves_what_is_held_to_the_broker(broker: Mosquitto, tmp_path: Path) -> None:
    ingest = FakeIngest(answer=Later(reason="outbox_full", detail="full", retry_after_s=60))
    client = make_client(broker.url, tmp_path, ingest)
    await client.start()
    with Publisher(broker) as device:
        device.publish("1", READINGS, b"one")
        await until(lambda: len(ingest.taken) == 1)
    async with asyncio.timeout(4):
        await client.stop(4)
        await client.stop(4)
    heir = FakeIngest()
    async with running_client(broker.url, tmp_path, heir):
        await until(lambda: len(heir.stored) == 1)
    assert heir.stored[0].dup


async def test_a_retained_picture_is_taken_once_and_not_with_every_reconnect(broker: Mosquitto, tmp_path: Path) -> None:
    ingest, heir = FakeIngest(), FakeIngest()
    with Publisher(broker) as device:
        device.publish("1", READINGS, b"retained", retain=True)
        device.wait_acknowledged(1)
    async with running_client(broker.url, tmp_path, ingest):
        await until(lambda: len(ingest.stored) == 1)
    async with running_client(broker.url, tmp_path, heir):
        await asyncio.sleep(0.5)
    assert heir.taken == []


async def test_filters_that_left_the_settings_are_unsubscribed(broker: Mosquitto, tmp_path: Path) -> None:
    async with running_client(broker.url, tmp_path, FakeIngest()):
        pass
    ingest = FakeIngest()
    topics = {"images": ["cam/{device_id}"], "readings": [], "chunks": []}
    async with running_client(broker.url, tmp_path, ingest, topics=topics):
        with Publisher(broker) as device:
            device.publish("old", READINGS, b"old")
            device.publish("new", "cam/d1", b"new")
            await until(lambda: len(ingest.stored) == 1)
            await asyncio.sleep(0.2)
    assert ingest.payloads == [b"new"]
    assert json.loads((tmp_path / FILE_NAME).read_text())["filters"] == ["cam/+"]


async def test_an_error_of_our_own_ends_the_adapter_with_its_cause(broker: Mosquitto, tmp_path: Path) -> None:
    def bug(_: Inbound) -> Outcome:
        raise ZeroDivisionError("a bug of ours")

    client = make_client(broker.url, tmp_path, FakeIngest(answer=bug))
    await client.start()
    with Publisher(broker) as device:
        device.publish("1", READINGS, b"one")
        with pytest.raises(Exception, match="broke") as caught:
            await client.failed()
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    await client.stop(4)
    heir = FakeIngest()
    async with running_client(broker.url, tmp_path, heir):
        await until(lambda: len(heir.stored) == 1)
