"""Readings over Bluetooth: beacons and standard characteristics, through unmodified bleak on a fake org.bluez."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import IntakeFull
from gateway.messages import Readings
from gateway.simulators.bluez.peripheral import Characteristic, Peripheral, Service, short_uuid
from tests.fakes.ble_site import BleSite, ble_site, camera_of, jpeg, needs_dbus_daemon, until

pytestmark = needs_dbus_daemon

ADDRESS = "AA:BB:CC:DD:EE:0A"
# BTHome v2, not encrypted: 02 temperature 0.01 °C (s16), 03 humidity 0.01 % (u16). bthome.io/format
WARM = bytes.fromhex("40 02 ca09 03 bf13")
COLD = bytes.fromhex("40 02 00fc 03 bf13")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BleSite]:
    async with ble_site(tmp_path) as made:
        yield made


def beacon(data: bytes = WARM) -> Peripheral:
    return Peripheral(address=ADDRESS, name="beacon", service_data={short_uuid(0xFCD2): data})


def thermometer() -> Peripheral:
    rows = [
        Characteristic(uuid=short_uuid(0x2A6E), flags=("read", "notify"), value=(2150).to_bytes(2, "little")),
        Characteristic(uuid=short_uuid(0x2A19), flags=("read",), value=b"\x5a"),
    ]
    service = Service(uuid=short_uuid(0x181A), characteristics=rows)
    return Peripheral(address=ADDRESS, name="thermometer", services=[service])


def values(site: BleSite) -> list[str]:
    payloads = [one.payload for one in site.intake.submissions]
    return [item.values_json for payload in payloads if isinstance(payload, Readings) for item in payload.items]


def repeats(site: BleSite) -> float:
    return site.meter.counts("gateway_ble_readings_total", outcome="repeat")


def silent(site: BleSite) -> float | None:
    return site.meter.levels.get("gateway_ble_devices_silent")


async def test_beacon_is_one_event_however_often_it_says_it(site: BleSite) -> None:
    site.bluez.add(beacon())
    async with site.serving(device=[{"address": ADDRESS, "device_id": "cellar"}]):
        await until(lambda: repeats(site) >= 3, "repeats")
    assert values(site) == ['{"temperature_c":25.06,"humidity_percent":50.55}']
    assert site.intake.last.device_id == "cellar"


async def test_beacon_that_says_something_new_is_a_new_event(site: BleSite) -> None:
    sender = beacon()
    site.bluez.add(sender)
    async with site.serving(unlisted_sensors=True):
        await until(lambda: len(values(site)) == 1, "the first")
        sender.service_data = {short_uuid(0xFCD2): COLD}
        await until(lambda: len(values(site)) == 2, "the second")
    assert site.intake.last.device_id == "ble-aabbccddee0a"


async def test_reading_that_could_not_be_taken_is_no_repeat_when_it_is_said_again(site: BleSite) -> None:
    site.bluez.add(beacon())
    site.intake.closed = IntakeFull("full")
    async with site.serving(unlisted_sensors=True):
        await until(lambda: site.meter.counts("gateway_ble_readings_total", outcome="later") >= 1, "a lost one")
        site.intake.closed = None
        await until(lambda: len(values(site)) == 1, "the next")


async def test_beacon_of_strangers_is_not_taken(site: BleSite) -> None:
    other = beacon()
    mine = Peripheral(address="AA:BB:CC:DD:EE:0B", name="mine", service_data={short_uuid(0xFCD2): COLD})
    site.bluez.add(other, mine)
    async with site.serving(device=[{"address": mine.address}]):
        await until(lambda: repeats(site) >= 2, "mine")
    assert {one.device_id for one in site.intake.submissions} == {"ble-aabbccddee0b"}


async def test_standard_characteristics_are_read_and_the_link_is_given_back(site: BleSite) -> None:
    sensor = thermometer()
    site.bluez.add(sensor)
    listed = {"address": ADDRESS, "readings": ["temperature", "battery"], "read_interval_s": 1}
    async with site.serving(device=[listed], repeat_window_s=0):
        await until(lambda: len(values(site)) >= 2, "two readings")
        assert site.bluez.links_high == 1
    assert set(values(site)) == {'{"temperature_c":21.5,"battery_percent":90}'}
    assert sensor.links >= 2, "a link for each"


async def test_standard_characteristic_is_taken_as_notification(site: BleSite) -> None:
    sensor = thermometer()
    site.bluez.add(sensor)
    async with site.serving(device=[{"address": ADDRESS, "readings": ["temperature"], "notify": True}]):
        await until(lambda: site.bluez.notify_clients == 1, "the subscription")
        assert sensor.air is not None
        sensor.air.notify(short_uuid(0x2A6E), (-500).to_bytes(2, "little", signed=True))
        await until(lambda: len(values(site)) == 1, "a reading")
    assert values(site) == ['{"temperature_c":-5.0}']


async def test_sensor_not_heard_for_its_time_is_told_as_silent_until_it_is_back(site: BleSite) -> None:
    sender = beacon()
    site.bluez.add(sender)
    async with site.serving(device=[{"address": ADDRESS, "device_id": "cellar", "silent_after_s": 0.5}]):
        await until(lambda: site.status.noted == [("cellar", "online", "")], "its first sign of life")
        sender.silent = True
        await until(lambda: silent(site) == 1, "the silence")
        assert site.status.noted[1:] == [("cellar", "silent", "not heard for 0.5 s")]
        sender.silent = False
        await until(lambda: silent(site) == 0, "its return")
    assert site.status.noted[2:] == [("cellar", "online", "")]


async def test_device_that_never_came_is_told_as_silent(site: BleSite) -> None:
    async with site.serving(device=[{"name": "attic", "silent_after_s": 0.2}]):
        await until(lambda: site.status.noted == [("attic", "silent", "not heard for 0.2 s")], "the silence")


async def test_readings_in_the_data_of_the_maker_are_taken(site: BleSite) -> None:
    pytest.importorskip("ruuvitag_ble", reason="ruuvitag-ble is not installed")
    # docs.ruuvi.com, data format 5, test vector: valid data
    data = bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")
    site.bluez.add(Peripheral(address=ADDRESS, name="Ruuvi", manufacturer_data={0x0499: data}))
    async with site.serving(unlisted_sensors=True):
        await until(lambda: repeats(site) >= 3, "repeats")
    (told,) = values(site)
    assert '"temperature_c":24.3' in told


async def test_makers_that_put_values_where_their_number_belongs_are_understood(site: BleSite) -> None:
    pytest.importorskip("thermopro_ble", reason="thermopro-ble is not installed")
    # ThermoPro: the temperature is in the company id, and BlueZ keeps every id that it ever heard.
    sender = Peripheral(address=ADDRESS, name="TP359 (0C87)", manufacturer_data={0xFFC2: b"\x00\x35\x01\x2c"})
    site.bluez.add(sender)
    async with site.serving(unlisted_sensors=True):
        await until(lambda: len(values(site)) == 1, "the first")
        sender.manufacturer_data = {**sender.manufacturer_data, 0xF0C2: b"\x00\x35\x01\x2c"}
        await until(lambda: len(values(site)) == 2, "the second")
    assert ['"temperature_c":25.5' in values(site)[0], '"temperature_c":24.0' in values(site)[1]] == [True, True]


async def test_fifty_beacons_and_seven_cameras_are_all_served(site: BleSite) -> None:
    pictures = [jpeg(8_000, n) for n in range(7)]
    cameras = [camera_of("openglass", one, address=f"AA:BB:CC:DD:EE:{n:02X}") for n, one in enumerate(pictures)]
    beacons = [
        Peripheral(
            address=f"AA:BB:CC:DD:{n:02X}:FF",
            name=f"beacon-{n}",
            service_data={short_uuid(0xFCD2): bytes.fromhex("40 02") + (n * 100).to_bytes(2, "little")},
        )
        for n in range(50)
    ]
    site.bluez.add(*cameras, *beacons)
    async with site.serving(unlisted_sensors=True):
        await until(lambda: len(values(site)) >= len(beacons), "every beacon")
        await until(lambda: set(pictures) <= set(site.pictures()), "every camera")
    assert len(values(site)) == len(beacons), "repeats are no events"
    assert site.bluez.links_high <= 5
    assert site.bluez.links == 0
