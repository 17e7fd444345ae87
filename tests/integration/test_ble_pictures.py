"""Every built-in profile's picture: unmodified bleak on a fake org.bluez, into a fake intake."""

import io
from collections.abc import AsyncIterator
from itertools import repeat
from pathlib import Path

import pytest
from PIL import Image as Pillow

from adapters.ble.image1 import CommandCode, StatusCode
from gateway.errors import IntakeFull
from gateway.messages import Readings, Transport
from gateway.simulators.bluez.camera import SimulatedCamera
from gateway.simulators.devices.ble_cameras import OmiGlassCamera
from gateway.simulators.devices.ble_image1_camera import READING
from tests.fakes.ble_site import (
    ADDRESS,
    BleSite,
    Image1Device,
    ble_site,
    camera_of,
    image1_device,
    jpeg,
    needs_dbus_daemon,
    until,
)

pytestmark = needs_dbus_daemon

PICTURE = jpeg(40_000)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BleSite]:
    async with ble_site(tmp_path) as made:
        yield made


def device_in(site: BleSite, *, mtu: int = 247) -> Image1Device:
    device = image1_device(mtu=mtu)
    site.bluez.add(device.camera)
    return device


def on_disk(device: Image1Device) -> bool:
    return bool(device.firmware.on_disk)


@pytest.mark.parametrize("profile", ["openglass", "omiglass", "nordic-its", "esp32cam-cafebabe", "jpeg-stream"])
async def test_picture_arrives_whole_and_under_the_devices_id(site: BleSite, profile: str) -> None:
    site.bluez.add(camera_of(profile, PICTURE))
    async with site.serving(device=[{"address": ADDRESS, "device_id": "door"}], unlisted_cameras=False):
        await until(lambda: bool(site.intake.events), "a picture")
    assert site.pictures()[0] == PICTURE
    assert site.intake.last.device_id == "door"
    assert site.intake.last.transport is Transport.BLE


async def test_device_that_nobody_listed_is_left_alone(site: BleSite) -> None:
    camera, known = camera_of("openglass", PICTURE), camera_of("openglass", PICTURE, address="AA:BB:CC:DD:EE:02")
    site.bluez.add(camera, known)
    async with site.serving(device=[{"address": known.address}], unlisted_cameras=False):
        await until(lambda: bool(site.intake.events), "the known one's picture")
    assert camera.links == 0


async def test_device_is_known_by_its_name_where_its_address_changes(site: BleSite) -> None:
    camera = camera_of("openglass", PICTURE)
    camera.name = "front door"
    site.bluez.add(camera)
    async with site.serving(device=[{"name": "front door"}], unlisted_cameras=False):
        await until(lambda: bool(site.intake.events), "a picture")
    assert site.intake.last.device_id == "front-door"


async def test_orientation_of_omiglass_is_in_the_picture(site: BleSite) -> None:
    out = io.BytesIO()
    Pillow.new("RGB", (64, 32), "red").save(out, "JPEG")
    firmware = OmiGlassCamera(repeat(out.getvalue()), quarter_turns=1)
    site.bluez.add(SimulatedCamera(address=ADDRESS, firmware=firmware))
    async with site.serving():
        await until(lambda: bool(site.intake.events), "a picture")
    with Pillow.open(io.BytesIO(site.pictures()[0])) as image:
        assert image.getexif()[0x0112] == 6


async def test_cafebabe_is_acknowledged_after_the_commit_only(site: BleSite) -> None:
    camera = camera_of("esp32cam-cafebabe", PICTURE)
    site.bluez.add(camera)
    site.intake.submit_s = 0.3
    async with site.serving():
        await until(lambda: bool(site.intake.submissions), "a submission")
        assert camera.firmware.acknowledged == 0
        await until(lambda: camera.firmware.acknowledged == 1, "the acknowledgement")
        assert site.intake.events


# --- gateway-image-1 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mtu", [23, 247, 517])
async def test_gateway_image_1_is_told_on_disk_at_any_mtu(site: BleSite, mtu: int) -> None:
    device = device_in(site, mtu=mtu)
    device.offer(7, jpeg(6_000))
    async with site.serving():
        await until(lambda: on_disk(device), "the status")
    assert site.pictures() == [jpeg(6_000)]
    assert site.intake.last.submission_id == "7"


async def test_gateway_image_1_resumes_after_a_lost_link(site: BleSite) -> None:
    device = device_in(site)
    device.offer(7, PICTURE)
    site.bluez.faults.drop_after = 100
    async with site.serving():
        await until(lambda: on_disk(device), "the status")
    chunks = -(-len(PICTURE) // 240)
    assert device.camera.links == 2
    # Those in the air when the link went are sent again; the hundred before are not.
    assert device.firmware.sent_chunks < chunks + 40
    assert site.pictures() == [PICTURE]


async def test_half_picture_without_room_is_counted_and_sent_again_from_its_start(site: BleSite) -> None:
    device = device_in(site)
    device.offer(7, PICTURE)
    site.bluez.faults.drop_after = 100
    async with site.serving(resume_bytes_max=len(PICTURE) // 2):
        await until(lambda: on_disk(device), "the status")
    assert site.outcome("no_room", profile="gateway-image-1") == 1
    assert device.firmware.sent_chunks > -(-len(PICTURE) // 240) + 90
    assert site.pictures() == [PICTURE]


async def test_gateway_image_1_is_asked_for_lost_chunks_only(site: BleSite) -> None:
    device = device_in(site)
    device.offer(7, PICTURE)
    site.bluez.faults.lose = {5, 6, 50, 100}
    async with site.serving():
        await until(lambda: on_disk(device), "the status")
    assert device.firmware.sent_chunks == -(-len(PICTURE) // 240) + 4
    assert site.pictures() == [PICTURE]


async def test_link_lost_between_commit_and_status_makes_no_second_event(site: BleSite) -> None:
    device = device_in(site)
    device.offer(7, jpeg(3_000))
    site.intake.submit_s = 0.2
    async with site.serving():
        await until(lambda: bool(site.intake.submissions), "a submission")
        site.bluez.drop(device.camera)
        await until(lambda: on_disk(device), "the status, on the next link")
    assert len(site.intake.events) == 1
    assert device.camera.links == 2


async def test_gateway_image_1_is_told_to_try_later_and_does(site: BleSite) -> None:
    device = device_in(site)
    device.offer(7, jpeg(3_000))
    site.intake.closed = IntakeFull("full", retry_after_s=1)
    async with site.serving():
        await until(lambda: bool(device.firmware.statuses), "a status")
        site.intake.closed = None
        await until(lambda: on_disk(device), "the status")
    assert device.firmware.statuses[0].code == StatusCode.TRY_LATER
    assert site.pictures() == [jpeg(3_000)]


async def test_gateway_image_1_hands_over_readings_too(site: BleSite) -> None:
    device = device_in(site)
    device.offer(8, b'{"temperature_c":21.5}', READING)
    async with site.serving():
        await until(lambda: on_disk(device), "the status")
    payload = site.intake.last.payload
    assert isinstance(payload, Readings)
    assert payload.items[0].values_json == '{"temperature_c":21.5}'


async def test_gateway_image_1_is_told_that_a_bad_payload_is_refused(site: BleSite) -> None:
    device = device_in(site)
    device.offer(9, b"no JSON at all", READING)
    async with site.serving():
        await until(lambda: bool(device.firmware.statuses), "the status")
    assert device.firmware.statuses[0].code == StatusCode.REFUSED
    assert site.intake.refusals[0].reason == "reading_invalid"


async def test_photo_is_asked_for_at_the_interval_of_the_settings(site: BleSite) -> None:
    device = device_in(site)
    async with site.serving(device=[{"address": ADDRESS, "photo_interval_s": 1}]):
        await until(lambda: len(device.firmware.commands) >= 2, "two commands")
    assert {command.what for command in device.firmware.commands} == {CommandCode.PHOTO}
