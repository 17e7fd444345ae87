"""A listener on a free port with a fake ingest, for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.mqtt.listener import MqttListener, create_mqtt_listener
from adapters.mqtt.listener_credentials import Credentials
from adapters.mqtt.listener_status import ClientStatus
from gateway.clock import SystemClock
from gateway.settings import LimitsSettings, MqttSettings, Settings
from gateway.tls.listeners import listeners_tls
from tests.fakes.ingest import FakeIngest
from tests.fakes.intake import RecordingMeter


@dataclass
class ListenerUnderTest:
    """The listener and what surrounds it."""

    listener: MqttListener
    ingest: FakeIngest
    meter: RecordingMeter
    statuses: list[ClientStatus] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.listener.port

    def disconnects(self, reason: str) -> float:
        return self.meter.counts("gateway_mqtt_disconnects_total", way="listener", reason=reason)

    def publishes(self, outcome: str, qos: int = 1) -> float:
        return self.meter.counts("gateway_mqtt_publishes_total", way="listener", qos=str(qos), outcome=outcome)

    def replies(self, outcome: str) -> float:
        return self.meter.counts("gateway_mqtt_replies_total", way="listener", outcome=outcome)


@asynccontextmanager
async def listening(
    *,
    ingest: FakeIngest | None = None,
    limits: dict[str, int] | None = None,
    credentials: Credentials | None = None,
    data_dir: Path | None = None,
    **settings: Any,
) -> AsyncIterator[ListenerUnderTest]:
    """Serve on a free port; ``settings`` are those of [mqtt]."""
    statuses: list[ClientStatus] = []
    ingest = ingest or FakeIngest()
    meter = RecordingMeter()
    chosen = MqttSettings(**({"listen": "127.0.0.1:0"} | settings))
    listener = create_mqtt_listener(
        settings=chosen,
        limits=LimitsSettings(**(limits or {})),
        ingest=ingest,
        meter=meter,
        clock=SystemClock(),
        credentials=credentials,
        data_dir=data_dir,
        on_status=statuses.append,
        tls=listeners_tls(Settings(mqtt=chosen), SystemClock()).mqtt,
    )
    await listener.start()
    try:
        yield ListenerUnderTest(listener=listener, ingest=ingest, meter=meter, statuses=statuses)
    finally:
        ingest.gate.set()
        await listener.stop(deadline_s=2)
