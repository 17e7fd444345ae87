"""Notifications and writes through sockets of their own: AcquireNotify by a profile, AcquireWrite by a bare client."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dbus_fast import Message
from dbus_fast.aio import MessageBus

from gateway.simulators.bluez.camera import SimulatedCamera
from gateway.simulators.bluez.faults import Fault
from tests.fakes.ble_site import (
    BleSite,
    acquiring_profile,
    ble_site,
    camera_of,
    jpeg,
    needs_dbus_daemon,
    open_sockets,
    until,
)

pytestmark = needs_dbus_daemon

PICTURE = jpeg(40_000)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BleSite]:
    async with ble_site(tmp_path) as made:
        yield made


@pytest.fixture
def acquiring(tmp_path: Path) -> Path:
    return acquiring_profile(tmp_path)


def camera_in(site: BleSite) -> SimulatedCamera:
    camera = camera_of("openglass", PICTURE)
    site.bluez.add(camera)
    return camera


async def test_profile_that_acquires_gets_its_picture_through_a_socket(site: BleSite, acquiring: Path) -> None:
    camera_in(site)
    async with site.serving(profiles_dir=acquiring):
        await until(lambda: bool(site.intake.events), "a picture")
    assert site.pictures()[0] == PICTURE
    assert (site.bluez.calls["AcquireNotify"], site.bluez.calls["StartNotify"]) == (1, 0)


async def test_link_lost_while_acquired_leaves_no_socket_and_the_picture_is_taken_again(
    site: BleSite, acquiring: Path
) -> None:
    camera = camera_in(site)
    site.bluez.faults.drop_after = 40
    async with site.serving(profiles_dir=acquiring):
        await until(lambda: bool(site.intake.events), "a picture")
        assert site.outcome("gap") >= 1  # the link that was lost; on a slow machine the camera may begin once more
        sockets = open_sockets()
        site.bluez.drop(camera)
        await until(lambda: camera.links == 3 and site.bluez.notify_clients == 1, "the third link")
        await until(lambda: open_sockets() == sockets, "as many sockets as at the link before")
    assert set(site.pictures()) == {PICTURE}


async def test_socket_is_hung_up_although_bluetoothd_answers_no_disconnect(site: BleSite, acquiring: Path) -> None:
    camera_in(site)
    adapter = site.adapter(profiles_dir=acquiring)
    await adapter.start()
    await until(lambda: bool(site.intake.events), "a picture")
    site.bluez.faults.always["Disconnect"] = Fault(hang=True)
    await adapter.stop(1)
    await until(lambda: site.bluez.notify_clients == 0, "the end of the socket")


async def test_acquired_write_reaches_the_device_and_is_free_again_when_hung_up(site: BleSite) -> None:
    camera = camera_of("nordic-its", PICTURE)
    site.bluez.add(camera)
    site.bluez.leave_linked(camera)
    control = next(path for path in site.bluez.objects if path.endswith("char0002"))
    bus = await MessageBus(bus_address=site.bus.address, negotiate_unix_fd=True).connect()
    try:
        for _ in range(2):
            reply = await bus.call(
                Message(
                    destination="org.bluez",
                    path=control,
                    interface="org.bluez.GattCharacteristic1",
                    member="AcquireWrite",
                    signature="a{sv}",
                    body=[{}],
                )
            )
            assert reply is not None
            assert reply.body[1] == 247, "the MTU"
            photos = camera.photos
            os.write(reply.unix_fds[0], b"\x01")
            await until(lambda before=photos: camera.photos == before + 1, "the photo")  # type: ignore[misc]
            os.close(reply.unix_fds[0])
            await asyncio.sleep(0.05)
    finally:
        bus.disconnect()
        await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]
