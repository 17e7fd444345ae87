"""The optional door to TheengsDecoder: its words turned into ours; with the real library where it is installed."""

import json

import pytest

from adapters.ble.advertisements import Heard
from adapters.ble.theengs import TheengsDecoder, installed_theengs

# docs.ruuvi.com, data format 5 (RAWv2), test vector: valid data
RUUVI = Heard(
    address="CB:B8:33:4C:88:4F",
    name="",
    rssi=-60,
    service_data={},
    manufacturer_data={0x0499: bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")},
)


def test_values_are_those_that_its_properties_name() -> None:
    asked: list[dict[str, str]] = []

    def decode_ble(question: str) -> str:
        asked.append(json.loads(question))
        return json.dumps({"model_id": "M", "tempc": 21.5, "tempf": 70.7, "mac": "AA", "motion": True, "hum": None})

    properties = {
        "tempc": {"unit": "°C", "name": "temperature"},
        "mac": {"unit": "string", "name": "MAC address"},
        "motion": {"unit": "bool", "name": "motion state"},
        "hum": {"unit": "%", "name": "humidity"},
    }
    decoder = TheengsDecoder(decode_ble=decode_ble, properties_of=lambda _: json.dumps({"properties": properties}))

    told = decoder.decode(RUUVI, 1.0)

    assert told is not None
    assert told.values == {"temperature_c": 21.5, "motion_state": True}
    assert asked == [
        {
            "id": RUUVI.address,
            "name": "",
            "manufacturerdata": "99040512fc5394c37c0004fffc040cac364200cdcbb8334c884f",
        }
    ]


def test_services_are_asked_about_by_their_short_name() -> None:
    asked: list[str] = []

    def decode_ble(question: str) -> None:
        asked.append(json.loads(question)["servicedatauuid"])

    data = {f"0000{'fe95'}-0000-1000-8000-00805f9b34fb": b"x", "cba20d00-224d-11e6-9fb8-0002a5d5c51b": b"y"}
    heard = Heard(address="a", name="", rssi=-60, service_data=data, manufacturer_data={})

    assert TheengsDecoder(decode_ble=decode_ble, properties_of=lambda _: None).decode(heard, 1.0) is None
    assert asked == ["fe95", "cba20d00-224d-11e6-9fb8-0002a5d5c51b"]


@pytest.mark.skipif(not installed_theengs(), reason="TheengsDecoder is not installed: it has no wheel for ARM")
def test_the_real_library_reads_a_published_advertisement() -> None:
    (decoder,) = installed_theengs()

    told = decoder.decode(RUUVI, 1.0)

    assert told is not None
    assert dict(told.values) == dict(told.values) | {
        "temperature_c": 24.3,
        "humidity_percent": 53.49,
        "pressure_hpa": 1000.44,
        "voltage_v": 2.977,
        "movement_counter": 66,
    }
    assert decoder.decode(Heard(address="a", name="", rssi=0, service_data={}, manufacturer_data={1: b""}), 1.0) is None
