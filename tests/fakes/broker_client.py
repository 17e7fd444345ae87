"""The broker client started against a broker, with an ingest in memory; and a device that listens."""

import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt

from adapters.mqtt.broker import MqttBrokerClient, create_mqtt_broker_client
from adapters.mqtt.broker_options import BrokerOptions, broker_options
from gateway.clock import SystemClock
from gateway.settings import LimitsSettings, MqttSettings
from tests.fakes.ingest import FakeIngest
from tests.fakes.intake import RecordingMeter
from tests.fakes.mosquitto import Mosquitto, end_device

READINGS = "devices/d1/readings"


def make_client(
    url: str,
    data_dir: Path,
    ingest: FakeIngest,
    *,
    limits: LimitsSettings | None = None,
    gateway_id: str = "gw-1",
    meter: RecordingMeter | None = None,
    **mqtt: Any,
) -> MqttBrokerClient:
    """Return a client that is not started."""
    data_dir.mkdir(parents=True, exist_ok=True)
    adapter = create_mqtt_broker_client(
        settings=MqttSettings.model_validate({"url": url, "connect_timeout_s": 5} | mqtt),
        limits=limits or LimitsSettings(),
        ingest=ingest,
        meter=meter or RecordingMeter(),
        clock=SystemClock(),
        gateway_id=gateway_id,
        data_dir=data_dir,
    )
    assert isinstance(adapter, MqttBrokerClient)
    return adapter


def options(**changes: object) -> BrokerOptions:
    """Options as settings give them, for a broker that is not there."""
    settings = MqttSettings.model_validate({"url": "mqtt://broker.example"} | changes)
    return broker_options(settings, LimitsSettings(), gateway_id="gw-1")


@contextlib.asynccontextmanager
async def running_client(
    url: str, data_dir: Path, ingest: FakeIngest, **options: Any
) -> AsyncIterator[MqttBrokerClient]:
    """Serve with a client; stopped at the end as the supervisor does."""
    client = make_client(url, data_dir, ingest, **options)
    await client.start()
    try:
        yield client
    finally:
        await client.stop(4)


def forget(client: MqttBrokerClient) -> None:
    """Cut the client off as kill -9 would: nothing is flushed, no word to the broker."""
    connection = client._connection
    assert connection is not None
    connection.link.pause()
    assert client._run is not None
    client._run.cancel()


@contextlib.contextmanager
def listening_device(broker: Mosquitto, topic: str) -> Iterator[list[tuple[str, bytes]]]:
    """A device that hears ``topic``; yields what it heard so far."""
    heard: list[tuple[str, bytes]] = []
    subscribed = threading.Event()
    device = mqtt.Client("listening-device")
    device.on_message = lambda _client, _userdata, message: heard.append((message.topic, message.payload))
    device.on_subscribe = lambda _client, _userdata, _packet_id, _granted: subscribed.set()
    device.connect("127.0.0.1", broker.port)
    device.loop_start()
    device.subscribe(topic, 1)
    assert subscribed.wait(10)
    try:
        yield heard
    finally:
        end_device(device)
