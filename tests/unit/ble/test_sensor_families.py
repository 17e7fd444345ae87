"""Advertisements of real sensors, as published, through the library of each maker."""

import importlib
from dataclasses import dataclass, field
from importlib.util import find_spec

import pytest

from adapters.ble.advertisements import Heard, Scalar
from adapters.ble.profiles import whole_uuid
from adapters.ble.sensor_families import FAMILIES, Family, FamilyDecoder, installed_families, key_of

SENSORPUSH_UUID = "ef090000-11d6-42ba-93b8-9dd7ec090ab0"


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a sensor of that family sent, where it was published, and what is to come out."""

    package: str
    source: str
    values: dict[str, Scalar]
    address: str = "AA:BB:CC:DD:EE:FF"
    name: str = ""
    service_data: dict[str, str] = field(default_factory=dict)
    manufacturer_data: dict[int, str] = field(default_factory=dict)
    uuids: tuple[str, ...] = ()

    @property
    def heard(self) -> Heard:
        return Heard(
            address=self.address,
            name=self.name,
            rssi=-60,
            service_data={whole_uuid(uuid): bytes.fromhex(data) for uuid, data in self.service_data.items()},
            manufacturer_data={company: bytes.fromhex(data) for company, data in self.manufacturer_data.items()},
            service_uuids=frozenset(whole_uuid(uuid) for uuid in self.uuids),
        )


# ble_monitor: captures of users' devices in the tests of github.com/custom-components/ble_monitor.
PUBLISHED = (
    Published(
        package="ruuvitag-ble",
        source="docs.ruuvi.com, data format 5 (RAWv2), test vector: valid data",
        address="CB:B8:33:4C:88:4F",
        manufacturer_data={0x0499: "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"},
        values={
            "temperature_c": 24.3,
            "humidity_percent": 53.49,
            "pressure_hpa": 1000.44,
            "voltage_mv": 2977,
            "movement_counter": 66,
        },
    ),
    Published(
        package="xiaomi-ble",
        source="ble_monitor test_xiaomi_parser.py, LYWSDCGQ",
        address="58:2D:34:35:93:21",
        service_data={"fe95": "5020aa01da219335342d580d1004fe004802"},
        values={"temperature_c": 25.4, "humidity_percent": 58.4},
    ),
    Published(
        package="qingping-ble",
        source="ble_monitor test_qingping_parser.py, CGP1W",
        address="58:2D:34:40:1C:6F",
        service_data={"fdcd": "08096f1c40342d580104be000d0207027226020157"},
        values={"temperature_c": 19.0, "humidity_percent": 52.5, "pressure_mbar": 984.2, "battery_percent": 87},
    ),
    Published(
        package="bluemaestro-ble",
        source="ble_monitor test_bluemaestro.py, Tempo Disc THD",
        address="E0:12:1D:61:BB:AA",
        manufacturer_data={0x0133: "17550e10061eff2f02a6ff030100"},
        values={"battery_percent": 85, "temperature_c": -20.9, "humidity_percent": 67.8, "dew_point_c": -25.3},
    ),
    Published(
        package="oralb-ble",
        source="ble_monitor test_oral_b.py, SmartSeries 7000",
        address="A8:1B:6A:B6:73:71",
        manufacturer_data={0x00DC: "03210b0328041107373804"},
        values={"toothbrush_state": "running", "mode": "turbo", "number_of_sectors": 4, "brushing": True},
    ),
    Published(
        package="mopeka-iot-ble",
        source="github.com/Bluetooth-Devices/mopeka-iot-ble tests/test_parser.py, Pro Plus",
        address="C9:F3:32:E0:F5:09",
        manufacturer_data={0x0059: "087043b6c3e0f509fae3"},
        uuids=("fee5",),
        values={"tank_level_mm": 341, "temperature_c": 27, "battery_percent": 100, "button_pressed": False},
    ),
    Published(
        package="sensorpush-ble",
        source="ble_monitor test_sensorpush_parser.py, HT.w",
        address="A4:34:F1:83:F0:90",
        manufacturer_data={0xE904: "187d39"},
        uuids=(SENSORPUSH_UUID,),
        values={"temperature_c": 27.69, "humidity_percent": 36.53},
    ),
    Published(
        package="thermobeacon-ble",
        source="github.com/Bluetooth-Devices/thermobeacon-ble tests/test_parser.py, lanyard hygrometer",
        name="ThermoBeacon",
        manufacturer_data={0x0010: "0000b002000047a4e20c8001b6024a000000"},
        uuids=("fff0",),
        values={"temperature_c": 24.0, "humidity_percent": 43.38, "voltage_v": 3.3, "battery_percent": 100},
    ),
    Published(
        package="thermopro-ble",
        source="ble_monitor test_thermopro.py, TP359",
        address="48:7E:48:F2:0C:87",
        name="TP359 (0C87)",
        manufacturer_data={0xFFC2: "0035012c"},
        values={"temperature_c": 25.5, "humidity_percent": 53, "battery_percent": 50},
    ),
    Published(
        package="inkbird-ble",
        source="ble_monitor test_inkbird.py, IBS-TH2",
        address="49:42:08:00:63:7A",
        name="sps",
        manufacturer_data={0x089C: "f41000ba4e6408"},
        uuids=("fff0",),
        values={"temperature_c": 22.04, "humidity_percent": 43.4, "battery_percent": 100},
    ),
    Published(
        package="govee-ble",
        source="ble_monitor test_govee_parser.py, H5074",
        address="E0:12:1D:61:BB:AA",
        name="Govee_H5074_BBAA",
        manufacturer_data={0xEC88: "0088078c116402"},
        values={"temperature_c": 19.28, "humidity_percent": 44.92, "battery_percent": 100},
    ),
)


def decoders_of(family: Family) -> list[FamilyDecoder]:
    if find_spec(family.module) is None:
        pytest.skip(f"{family.package} is not installed: it has no wheel for this machine")
    return [one for one in installed_families(bind_keys={}) if one.package == family.package]


def test_every_family_has_its_published_advertisement() -> None:
    assert {one.package for one in PUBLISHED} == {one.package for one in FAMILIES}


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda one: one.package)
def test_a_published_advertisement_is_read(published: Published) -> None:
    family = next(one for one in FAMILIES if one.package == published.package)
    (decoder,) = decoders_of(family)

    told = decoder.decode(published.heard, 1.0)

    assert told is not None
    assert dict(told.values) == dict(told.values) | published.values


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda one: one.package)
def test_no_other_family_takes_it_for_its_own(published: Published) -> None:
    told = {one.package for one in installed_families(bind_keys={}) if one.decode(published.heard, 1.0) is not None}

    assert told <= {published.package}


def test_an_encrypting_xiaomi_sensor_is_read_with_its_key_and_not_without() -> None:
    """ble_monitor test_xiaomi_parser.py, LYWSD03MMC with encryption. The library rounds 46.7 % for this model."""
    xiaomi = next(one for one in FAMILIES if one.package == "xiaomi-ble")
    decoders_of(xiaomi)
    address = "A4:C1:38:02:83:F4"
    data = bytes.fromhex("58585b0550f4830238c1a495ef58763c26000097e2abb5")
    heard = Heard(address=address, name="", rssi=-30, service_data={whole_uuid("fe95"): data}, manufacturer_data={})
    key = bytes.fromhex("e9ea895fac7cca6d30532432a516f3a8")

    told = FamilyDecoder(xiaomi, bind_keys={address: key}).decode(heard, 1.0)

    assert told is not None
    assert told.values == {"humidity_percent": 46}
    assert FamilyDecoder(xiaomi, bind_keys={}).decode(heard, 1.0) is None


def test_a_family_is_not_loaded_before_one_of_its_sensors_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr(importlib, "import_module", load)
    (ruuvi,) = (one for one in FAMILIES if one.package == "ruuvitag-ble")
    stranger = Heard(address="a", name="", rssi=-60, service_data={}, manufacturer_data={0x004C: b"\x02\x15"})

    assert FamilyDecoder(ruuvi, bind_keys={}).decode(stranger, 1.0) is None


def test_a_library_that_can_not_be_loaded_costs_its_family_only(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []

    def load(name: str) -> None:
        attempts.append(name)
        raise ImportError("half installed")

    monkeypatch.setattr(importlib, "import_module", load)
    decoder = FamilyDecoder(Family(package="govee-ble", parser="Any"), bind_keys={})
    heard = Heard(address="a", name="", rssi=-60, service_data={}, manufacturer_data={1: b"x"})

    assert [decoder.decode(heard, 1.0), decoder.decode(heard, 2.0)] == [None, None]
    assert attempts == ["govee_ble"], "tried once, told once"


def test_units_are_words_at_the_end_of_a_name() -> None:
    units = [("temperature", "°C"), ("pm2_5", "µg/m³"), ("acceleration_x", "m/s²"), ("voltage", "V"), ("count", None)]

    assert [key_of(*one) for one in units] == [
        "temperature_c",
        "pm2_5_ug_per_m3",
        "acceleration_x_m_per_s2",
        "voltage_v",
        "count",
    ]
