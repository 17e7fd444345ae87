"""Commands to Bluetooth devices, through unmodified bleak on a fake org.bluez."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.ble.image1 import CommandCode
from gateway.errors import CommandUnknown
from gateway.simulators.bluez.faults import FAILED, Fault
from tests.fakes.ble_site import (
    ADDRESS,
    BleSite,
    ble_site,
    camera_of,
    image1_device,
    jpeg,
    needs_dbus_daemon,
    until,
)

pytestmark = needs_dbus_daemon

GATE = {"address": ADDRESS, "device_id": "gate"}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BleSite]:
    async with ble_site(tmp_path) as made:
        yield made


async def test_photo_command_takes_a_photo(site: BleSite) -> None:
    camera = camera_of("openglass", jpeg(5_000))
    site.bluez.add(camera)
    async with site.serving(device=[GATE]) as adapter:
        await until(lambda: len(site.intake.events) == 1, "the photo at the connection")
        assert await adapter.command("gate", "photo", None) is True
        await until(lambda: len(site.intake.events) == 2, "the commanded photo")
    assert camera.photos == 2


async def test_interval_command_reaches_the_device_with_its_value(site: BleSite) -> None:
    device = image1_device()
    site.bluez.add(device.camera)
    async with site.serving(device=[GATE]) as adapter:
        await until(lambda: site.bluez.notify_clients == 1, "the link")
        assert await adapter.command("gate", "interval", 30) is True
        assert device.firmware.commands == [(CommandCode.INTERVAL, 30)], "told means written, not queued"


async def test_command_of_another_profile_is_said_to_be_unknown(site: BleSite) -> None:
    site.bluez.add(camera_of("jpeg-stream", jpeg(5_000)))
    async with site.serving(device=[GATE]) as adapter:
        await until(lambda: site.bluez.notify_clients == 1, "the link")
        with pytest.raises(CommandUnknown, match="jpeg-stream of gate has no command 'photo'"):
            await adapter.command("gate", "photo", None)


async def test_command_for_an_unknown_device_is_not_told(site: BleSite) -> None:
    async with site.serving(device=[GATE]) as adapter:
        assert await adapter.command("cellar", "photo", None) is False


async def test_command_for_a_device_that_is_not_linked_is_not_told(site: BleSite) -> None:
    camera = camera_of("openglass", jpeg(5_000))
    site.bluez.add(camera)
    async with site.serving(device=[GATE]) as adapter:
        await until(lambda: len(site.intake.events) == 1, "a picture")
        camera.silent = True
        site.bluez.drop(camera)
        await until(lambda: site.outcome_of_sessions("lost") == 1, "the end of the session")
        assert await adapter.command("gate", "photo", None) is False


async def test_command_before_the_start_is_not_told(site: BleSite) -> None:
    assert await site.adapter().command("gate", "photo", None) is False


@pytest.mark.parametrize("fault", [Fault(error=FAILED), Fault(hang=True)], ids=["fails", "hangs"])
async def test_command_whose_write_goes_wrong_is_not_told(site: BleSite, fault: Fault) -> None:
    site.bluez.add(image1_device().camera)
    async with site.serving(device=[GATE], gatt_timeout_s=0.5) as adapter:
        await until(lambda: site.bluez.calls["WriteValue"] == 1, "the hello")
        site.bluez.faults.add("WriteValue", fault)
        assert await adapter.command("gate", "photo", None) is False
