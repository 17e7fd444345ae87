"""Messages larger than the gateway reads, both ways, with the real ingest: noted with their true size, reported on
the device's own topic, and never held."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from adapters.mqtt.broker import create_mqtt_broker_client
from adapters.mqtt.codec_packets import V3_1_1, V5, Disconnect, Puback, Publish, Pubrec
from adapters.mqtt.codec_properties import Properties
from adapters.mqtt.codec_reasons import ReasonCode
from adapters.mqtt.ingest import MqttIngest
from adapters.mqtt.listener import MqttListener, create_mqtt_listener
from adapters.mqtt.listener_credentials import Identity
from gateway.clock import SystemClock
from gateway.messages import Refusal, Transport
from gateway.settings import LimitsSettings, MqttSettings
from tests.fakes.broker_client import listening_device
from tests.fakes.intake import FakeIntake, RecordingMeter
from tests.fakes.mosquitto import Mosquitto, Publisher, needs_mosquitto, until
from tests.fakes.mqtt_device import RawDevice

LIMITS = LimitsSettings(image_bytes_max=64 * 1024, reading_bytes_max=1024)
HUGE = bytes(300_000)
IMAGES = "devices/cam-1/images"
RESULTS = "devices/cam-1/results"


class OneLogin:
    """Whoever connects has proved to be cam-9."""

    async def check(self, username: str | None, password: bytes | None, client_id: str, *, source: str) -> Identity:
        return Identity(device_id="cam-9")


@dataclass
class Served:
    listener: MqttListener
    intake: FakeIntake

    @property
    def noted(self) -> Refusal:
        (noted,) = self.intake.refusals
        return noted


def make_ingest(intake: FakeIntake, settings: MqttSettings) -> MqttIngest:
    return MqttIngest(intake=intake, settings=settings, limits=LIMITS, clock=intake.clock, meter=RecordingMeter())


@asynccontextmanager
async def served(*, login: bool = False) -> AsyncIterator[Served]:
    settings, intake = MqttSettings(listen="127.0.0.1:0"), FakeIntake()
    listener = create_mqtt_listener(
        settings=settings,
        limits=LIMITS,
        ingest=make_ingest(intake, settings),
        meter=RecordingMeter(),
        clock=SystemClock(),
        credentials=OneLogin() if login else None,
    )
    await listener.start()
    try:
        yield Served(listener, intake)
    finally:
        await listener.stop(2)


def result(packet: object) -> dict[str, object]:
    assert isinstance(packet, Publish), packet
    document: dict[str, object] = json.loads(packet.payload)
    return document


@pytest.mark.parametrize("qos", [1, 2])
async def test_oversized_publish_of_3_1_1_is_noted_and_reported_under_the_device_of_its_topic(qos: int) -> None:
    async with served() as site, await RawDevice.connect(site.listener.port) as device:
        await device.subscribe(RESULTS, qos=0)
        device.publish(HUGE, topic=IMAGES, packet_id=5, qos=qos)
        answers = [await device.receive(), await device.receive()]
        assert (Puback(packet_id=5) if qos == 1 else Pubrec(packet_id=5)) in answers
        told = result(next(answer for answer in answers if isinstance(answer, Publish)))
        assert (told["status"], told["reason"]) == ("refused", "payload_too_large")
        assert str(len(HUGE)) in str(told["detail"])
        assert (site.noted.device_id, site.noted.transport) == ("cam-1", Transport.MQTT)
        assert (site.noted.reason, site.noted.payload_bytes) == ("payload_too_large", len(HUGE))
        assert site.noted.payload_sha256 is None
        assert site.listener.held_bytes == 0


async def test_oversized_publish_of_5_0_is_noted_and_its_report_waits_in_the_session() -> None:
    """5.0 was told the limit, so the connection ends; the device hears why when it is back."""
    keeps = Properties(session_expiry_s=60)
    async with served() as site:
        async with await RawDevice.connect(site.listener.port, version=V5, properties=keeps) as device:
            await device.subscribe(RESULTS, qos=1)
            device.publish(HUGE, topic=IMAGES, packet_id=5)
            (last,) = await device.receive_until_closed()
            assert isinstance(last, Disconnect)
            assert last.code == ReasonCode.PACKET_TOO_LARGE
        await until(lambda: bool(site.intake.refusals))
        assert (site.noted.device_id, site.noted.reason) == ("cam-1", "payload_too_large")
        assert site.noted.payload_bytes == len(HUGE)
        async with await RawDevice.connect(site.listener.port, version=V5, clean=False, properties=keeps) as device:
            assert result(await device.receive())["reason"] == "payload_too_large"


@pytest.mark.parametrize("topic", [IMAGES, "no/such/topic"])
async def test_oversized_publish_of_a_login_is_noted_under_the_login(topic: str) -> None:
    async with served(login=True) as site, await RawDevice.connect(site.listener.port, login=("x", b"y")) as device:
        device.publish(HUGE, topic=topic, packet_id=5)
        assert await device.receive() == Puback(packet_id=5)
        assert site.noted.device_id == "cam-9"


async def test_oversized_publish_to_an_unknown_topic_is_noted_though_nobody_can_be_told() -> None:
    async with served() as site, await RawDevice.connect(site.listener.port, version=V3_1_1) as device:
        device.publish(HUGE, topic="no/such/topic", packet_id=5)
        assert await device.receive() == Puback(packet_id=5)
        assert (site.noted.device_id, site.noted.reason) == ("unknown", "payload_too_large")


@needs_mosquitto
async def test_oversized_message_of_the_broker_is_noted_and_reported_and_blocks_nothing(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        settings, intake = MqttSettings(url=broker.url), FakeIntake()
        client = create_mqtt_broker_client(
            settings=settings,
            limits=LIMITS,
            ingest=make_ingest(intake, settings),
            meter=RecordingMeter(),
            clock=SystemClock(),
            gateway_id="gw-1",
            data_dir=tmp_path,
        )
        await client.start()
        with listening_device(broker, "devices/+/results") as heard, Publisher(broker) as device:
            device.publish("huge", IMAGES, HUGE)
            device.publish("next", IMAGES, b"\xff\xd8\xff\xe0")
            await until(lambda: len(heard) == 2)
        await client.stop(2)
    assert [json.loads(payload)["status"] for _, payload in heard] == ["refused", "accepted"]
    assert (heard[0][0], json.loads(heard[0][1])["reason"]) == (RESULTS, "payload_too_large")
    (noted,) = intake.refusals
    assert (noted.device_id, noted.payload_bytes, noted.payload_sha256) == ("cam-1", len(HUGE), None)
