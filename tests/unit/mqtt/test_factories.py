"""Which faces the settings of MQTT bring into being."""

from pathlib import Path

import pytest

from adapters import AdapterParts, build_adapters
from gateway.device_board import DeviceBoard
from gateway.devices.gatekeeper import Gatekeeper
from gateway.settings import load_settings
from tests.fakes.intake import FakeIntake, FakeReadiness, RecordingMeter


def faces(folder: Path, **settings: str) -> set[str]:
    """Return the types of the adapters that are built, none started."""
    overrides = {f"mqtt.{key}": value for key, value in settings.items()} | {"gateway.data_dir": str(folder)}
    intake = FakeIntake()
    parts = AdapterParts(
        intake=intake,
        reader=intake,
        readiness=FakeReadiness(),
        meter=RecordingMeter(),
        clock=intake.clock,
        version="0",
        model_name="fruit",
        labels=("ripe",),
        gatekeeper=Gatekeeper(folder, clock=intake.clock, meter=RecordingMeter()),
        status=DeviceBoard(intake=intake, events=False, clock=intake.clock, meter=RecordingMeter()),
    )
    built = build_adapters(load_settings(None, {}, overrides, folder), parts)
    return {type(adapter).__name__ for adapter in built} - {"HttpAdapter"}


@pytest.mark.parametrize(
    ("listen", "url", "expected"),
    [
        ("", "", set()),
        ("127.0.0.1:0", "", {"MqttListener"}),
        ("", "mqtt://broker.example", {"MqttBrokerClient"}),
        ("127.0.0.1:0", "mqtt://broker.example", {"MqttListener", "MqttBrokerClient"}),
    ],
)
def test_each_way_is_there_when_it_is_set(tmp_path: Path, listen: str, url: str, expected: set[str]) -> None:
    assert faces(tmp_path, listen=listen, url=url) == expected
