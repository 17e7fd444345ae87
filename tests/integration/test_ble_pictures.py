"""Every built-in profile's picture: unmodified bleak on a fake org.bluez, into a fake intake."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image as Pillow

from adapters.ble.image1 import CommandCode, Content, StatusCode
from gateway.errors import IntakeFull
from gateway.messages import Readings, Transport
from tests.fakes.bluez.cameras import (
    CafebabeCamera,
    Camera,
    GatewayImage1Camera,
    JpegStreamCamera,
    NordicItsCamera,
    OpenGlassCamera,
)
from tests.fakes.bluez.private_bus import needs_dbus_daemon
from tests.fakes.bluez.site import BleSite, ble_site, jpeg, until

pytestmark = needs_dbus_daemon

ADDRESS = "AA:BB:CC:DD:EE:01"
PICTURE = jpeg(40_000)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BleSite]:
    async with ble_site(tmp_path) as made:
        yield made


def image1_camera(site: BleSite, *, mtu: int = 247) -> GatewayImage1Camera:
    camera = GatewayImage1Camera(address=ADDRESS, mtu=mtu)
    site.bluez.add(camera)
    return camera


def on_disk(camera: GatewayImage1Camera) -> bool:
    return any(status.code == StatusCode.ON_DISK for status in camera.statuses)


@pytest.mark.parametrize("kind", [OpenGlassCamera, NordicItsCamera, CafebabeCamera, JpegStreamCamera])
async def test_picture_arrives_whole_and_under_the_devices_id(site: BleSite, kind: type[Camera]) -> None:
    site.bluez.add(kind(address=ADDRESS, picture=PICTURE))
    async with site.serving(device=[{"address": ADDRESS, "device_id": "door"}], unlisted_cameras=False):
        await until(lambda: bool(site.intake.events), "a picture")
    assert site.pictures()[0] == PICTURE
    assert site.intake.last.device_id == "door"
    assert site.intake.last.transport is Transport.BLE


async def test_device_that_nobody_listed_is_left_alone(site: BleSite) -> None:
    camera = OpenGlassCamera(address=ADDRESS, picture=PICTURE)
    known = OpenGlassCamera(address="AA:BB:CC:DD:EE:02", picture=PICTURE)
    site.bluez.add(camera, known)
    async with site.serving(device=[{"address": known.address}], unlisted_cameras=False):
        await until(lambda: bool(site.intake.events), "the known one's picture")
    assert camera.links == 0


async def test_device_is_known_by_its_name_where_its_address_changes(site: BleSite) -> None:
    site.bluez.add(OpenGlassCamera(address=ADDRESS, name="front door", picture=PICTURE))
    async with site.serving(device=[{"name": "front door"}], unlisted_cameras=False):
        await until(lambda: bool(site.intake.events), "a picture")
    assert site.intake.last.device_id == "front-door"


async def test_orientation_of_omiglass_is_in_the_picture(site: BleSite) -> None:
    out = io.BytesIO()
    Pillow.new("RGB", (64, 32), "red").save(out, "JPEG")
    site.bluez.add(OpenGlassCamera(address=ADDRESS, picture=out.getvalue(), orientation=1))
    async with site.serving():
        await until(lambda: bool(site.intake.events), "a picture")
    with Pillow.open(io.BytesIO(site.pictures()[0])) as image:
        assert image.getexif()[0x0112] == 6


async def test_cafebabe_is_acknowledged_after_the_commit_only(site: BleSite) -> None:
    camera = CafebabeCamera(address=ADDRESS, picture=PICTURE)
    site.bluez.add(camera)
    site.intake.submit_s = 0.3
    async with site.serving():
        await until(lambda: bool(site.intake.submissions), "a submission")
        assert camera.acknowledged == 0
        await until(lambda: camera.acknowledged == 1, "the acknowledgement")
        assert site.intake.events


# --- gateway-image-1 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mtu", [23, 247, 517])
async def test_gateway_image_1_is_told_on_disk_at_any_mtu(site: BleSite, mtu: int) -> None:
    camera = image1_camera(site, mtu=mtu)
    camera.offer(7, jpeg(6_000))
    async with site.serving():
        await until(lambda: on_disk(camera), "the status")
    assert site.pictures() == [jpeg(6_000)]
    assert site.intake.last.submission_id == "7"


async def test_gateway_image_1_resumes_after_a_lost_link(site: BleSite) -> None:
    camera = image1_camera(site)
    camera.offer(7, PICTURE)
    site.bluez.faults.drop_after = 100
    async with site.serving():
        await until(lambda: on_disk(camera), "the status")
    chunks = -(-len(PICTURE) // 240)
    assert camera.links == 2
    # Those in the air when the link went are sent again; the hundred before are not.
    assert camera.sent_chunks < chunks + 40
    assert site.pictures() == [PICTURE]


async def test_gateway_image_1_is_asked_for_lost_chunks_only(site: BleSite) -> None:
    camera = image1_camera(site)
    camera.offer(7, PICTURE)
    site.bluez.faults.lose = {5, 6, 50, 100}
    async with site.serving():
        await until(lambda: on_disk(camera), "the status")
    assert camera.sent_chunks == -(-len(PICTURE) // 240) + 4
    assert site.pictures() == [PICTURE]


async def test_link_lost_between_commit_and_status_makes_no_second_event(site: BleSite) -> None:
    camera = image1_camera(site)
    camera.offer(7, jpeg(3_000))
    site.intake.submit_s = 0.2
    async with site.serving():
        await until(lambda: bool(site.intake.submissions), "a submission")
        site.bluez.drop(site.bluez.path(camera))
        await until(lambda: on_disk(camera), "the status, on the next link")
    assert len(site.intake.events) == 1
    assert camera.links == 2


async def test_gateway_image_1_is_told_to_try_later_and_does(site: BleSite) -> None:
    camera = image1_camera(site)
    camera.offer(7, jpeg(3_000))
    site.intake.closed = IntakeFull("full", retry_after_s=1)
    async with site.serving():
        await until(lambda: bool(camera.statuses), "a status")
        site.intake.closed = None
        await until(lambda: on_disk(camera), "the status")
    assert camera.statuses[0].code == StatusCode.TRY_LATER
    assert site.pictures() == [jpeg(3_000)]


async def test_gateway_image_1_hands_over_readings_too(site: BleSite) -> None:
    camera = image1_camera(site)
    camera.offer(8, b'{"temperature_c":21.5}', Content.READING)
    async with site.serving():
        await until(lambda: on_disk(camera), "the status")
    payload = site.intake.last.payload
    assert isinstance(payload, Readings)
    assert payload.items[0].values_json == '{"temperature_c":21.5}'


async def test_gateway_image_1_is_told_that_a_bad_payload_is_refused(site: BleSite) -> None:
    camera = image1_camera(site)
    camera.offer(9, b"no JSON at all", Content.READING)
    async with site.serving():
        await until(lambda: bool(camera.statuses), "the status")
    assert camera.statuses[0].code == StatusCode.REFUSED
    assert site.intake.refusals[0].reason == "reading_invalid"


async def test_photo_is_asked_for_at_the_interval_of_the_settings(site: BleSite) -> None:
    camera = image1_camera(site)
    async with site.serving(device=[{"address": ADDRESS, "photo_interval_s": 1}]):
        await until(lambda: len(camera.commands) >= 2, "two commands")
    assert {command.code for command in camera.commands} == {CommandCode.PHOTO}
