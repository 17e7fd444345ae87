"""What goes wrong on the air and below bleak: each ends in a whole picture or a counted reason, nothing left over."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.ble.adapter import BleAdapter
from adapters.ble.bluez import ENDING_S
from adapters.ble.recovery import Rung
from gateway.errors import AdapterUnavailable, IntakeFull, OutboxFull
from gateway.simulators.bluez.camera import SimulatedCamera
from gateway.simulators.bluez.faults import IN_PROGRESS, Fault
from tests.fakes.ble_site import BleSite, ble_site, camera_of, jpeg, needs_dbus_daemon, until

pytestmark = needs_dbus_daemon

PICTURE = jpeg(20_000)
# In place of 90 s.
SOON_SILENT = {"scan_silent_max_s": 0.5}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[BleSite]:
    async with ble_site(tmp_path) as made:
        yield made


def camera_at(site: BleSite) -> SimulatedCamera:
    camera = camera_of("openglass", PICTURE)
    site.bluez.add(camera)
    return camera


async def picture_arrives(site: BleSite) -> None:
    await until(lambda: bool(site.intake.events), "a picture")
    assert set(site.pictures()) == {PICTURE}


async def failure(adapter: BleAdapter) -> str:
    """Return what the operator is told when a running adapter breaks."""
    with pytest.raises(AdapterUnavailable) as told:
        await asyncio.wait_for(adapter.failed(), 20)
    await adapter.stop(5)
    return str(told.value)


# --- on the air ---------------------------------------------------------------------------------------


async def test_link_dropped_in_a_picture_is_made_again_and_the_picture_taken_again(site: BleSite) -> None:
    camera = camera_at(site)
    site.bluez.faults.drop_after = 40
    async with site.serving():
        await picture_arrives(site)
    assert camera.links == 2
    assert site.outcome("gap") == 1


async def test_reconnecting_does_not_double_notifications(site: BleSite) -> None:
    camera_at(site)
    site.bluez.faults.drop_after = 40
    async with site.serving():
        await picture_arrives(site)
        assert site.bluez.notify_clients == 1


async def test_doubled_notifications_make_one_whole_picture(site: BleSite) -> None:
    camera = camera_at(site)
    site.bluez.faults.double = True
    async with site.serving():
        await picture_arrives(site)
    assert len(site.intake.events) == camera.photos


async def test_lost_notification_is_counted_and_the_photo_taken_again(site: BleSite) -> None:
    camera = camera_at(site)
    site.bluez.faults.lose = {17}
    async with site.serving():
        await picture_arrives(site)
    assert camera.photos == 2
    assert site.outcome("gap") == 1


async def test_camera_that_goes_silent_in_a_picture_is_counted_and_asked_again(site: BleSite) -> None:
    camera_at(site)
    site.bluez.faults.lose = set(range(50, 102))
    async with site.serving():
        await picture_arrives(site)
    assert site.outcome("idle_timeout") == 1


# --- start and stop (calls that fail or are never answered: test_ble_fault_table.py) --------------------


async def test_stopped_adapter_leaves_no_task_and_no_link(site: BleSite) -> None:
    camera_at(site)
    async with site.serving():
        await picture_arrives(site)
    left = {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("ble")}
    assert left == set()
    assert site.bluez.links == site.bluez.notify_clients == 0
    assert not site.bluez.discovering


async def test_link_that_a_killed_gateway_left_is_taken_over(site: BleSite) -> None:
    camera = camera_at(site)
    site.bluez.leave_linked(camera)
    async with site.serving():
        await picture_arrives(site)
    assert camera.links == 1, "nobody connected anew"


# --- the intake's answers -----------------------------------------------------------------------------


async def test_picture_is_held_while_the_intake_is_full(site: BleSite) -> None:
    camera = camera_at(site)
    site.intake.closed = IntakeFull("full", retry_after_s=0.05)
    async with site.serving():
        await until(
            lambda: bool(site.meter.counts("gateway_unavailable_total", transport="ble", reason="intake_full")), "later"
        )
        site.intake.closed = None
        await picture_arrives(site)
    assert camera.photos == 1
    assert site.outcome("committed") == 1


async def test_picture_that_the_intake_refuses_is_counted(site: BleSite) -> None:
    camera_at(site)
    site.intake.fault = OutboxFull("full", retry_after_s=3600)
    async with site.serving():
        await until(lambda: site.outcome("later") == 1, "the verdict")
    assert site.outcome("committed") == 0


# --- BlueZ, its bus, the adapter ----------------------------------------------------------------------


async def serves_again(site: BleSite, adapter: BleAdapter) -> None:
    site.intake.events.clear()
    await adapter.start()
    try:
        await picture_arrives(site)
    finally:
        await adapter.stop(5)


async def test_no_bus_is_told_with_the_cure_and_served_once_it_is_there(tmp_path: Path) -> None:
    async with ble_site(tmp_path) as site:
        camera_at(site)
        await site.bluez.stop()
        await site.bus.kill()
        adapter = site.adapter()
        with pytest.raises(AdapterUnavailable, match="no D-Bus system bus"):
            await adapter.start()
        await adapter.stop(1)
        await site.bus.start()
        await site.bluez.start()
        await serves_again(site, adapter)


async def test_no_bluetoothd_is_told_with_the_cure(site: BleSite) -> None:
    await site.bluez.stop()
    with pytest.raises(AdapterUnavailable, match="systemctl enable --now bluetooth"):
        await site.adapter().start()


async def test_no_adapter_is_told_and_served_once_it_is_plugged_in(site: BleSite) -> None:
    camera_at(site)
    site.bluez.unplug()
    adapter = site.adapter()
    with pytest.raises(AdapterUnavailable, match="no Bluetooth adapter"):
        await adapter.start()
    site.bluez.plug_in()
    await serves_again(site, adapter)


async def test_adapter_that_is_not_there_by_name_is_told(site: BleSite) -> None:
    with pytest.raises(AdapterUnavailable, match="bluetoothctl list"):
        await site.adapter(adapter="hci7").start()


async def test_refused_bus_is_told_with_the_group(site: BleSite) -> None:
    denied = Fault(error="org.freedesktop.DBus.Error.AccessDenied", text="Rejected send message")
    site.bluez.faults.always["GetManagedObjects"] = denied
    with pytest.raises(AdapterUnavailable, match="group bluetooth"):
        await site.adapter().start()


async def test_power_off_ends_the_adapter_and_power_on_serves_again(site: BleSite) -> None:
    camera_at(site)
    adapter = site.adapter()
    await adapter.start()
    await picture_arrives(site)
    site.bluez.set_powered(powered=False)
    assert "bluetoothctl power on" in await failure(adapter)
    with pytest.raises(AdapterUnavailable, match="switched off"):
        await adapter.start()
    site.bluez.set_powered(powered=True)
    await serves_again(site, adapter)


async def test_unplugged_adapter_ends_the_adapter(site: BleSite) -> None:
    camera_at(site)
    adapter = site.adapter()
    await adapter.start()
    site.bluez.unplug()
    assert "no Bluetooth adapter" in await failure(adapter)


async def test_adapter_switched_off_and_unplugged_at_once_is_told_as_unplugged(site: BleSite) -> None:
    adapter = site.adapter()
    await adapter.start()
    site.bluez.set_powered(powered=False)
    site.bluez.unplug()
    assert "no Bluetooth adapter" in await failure(adapter)


async def test_restart_of_bluetoothd_is_seen_and_survived(site: BleSite) -> None:
    camera_at(site)
    adapter = site.adapter()
    await adapter.start()
    await picture_arrives(site)
    await site.bluez.stop()
    assert "bluetoothd" in await failure(adapter)
    await site.bluez.start()
    await serves_again(site, adapter)


async def test_bluetoothd_that_switches_its_adapter_off_as_it_ends_is_told_as_ended(site: BleSite) -> None:
    adapter = site.adapter()
    await adapter.start()
    # What bluetoothd 5.66 does on SIGTERM (make test-bluez).
    site.bluez.set_powered(powered=False)
    site.bluez.unplug()
    await site.bluez.stop()
    assert "systemctl enable --now bluetooth" in await failure(adapter)


async def test_dead_bus_is_seen_and_survived(site: BleSite) -> None:
    camera_at(site)
    adapter = site.adapter()
    await adapter.start()
    await picture_arrives(site)
    await site.bus.kill()
    assert "D-Bus" in await failure(adapter)
    await site.bluez.stop()
    await site.bus.start()
    await site.bluez.start()
    await serves_again(site, adapter)


# --- the ladder ---------------------------------------------------------------------------------------


async def test_scan_that_another_program_blocks_leads_to_a_power_cycle(site: BleSite) -> None:
    camera = camera_at(site)
    adapter = site.adapter(unchecked=SOON_SILENT)
    await adapter.start()
    await picture_arrives(site)
    site.bluez.drop(camera)
    site.bluez.faults.mute = True
    site.bluez.faults.add("StartDiscovery", *[Fault(error=IN_PROGRESS)] * 2)
    await until(lambda: site.rung("power_cycle") == 1, "the second rung")
    site.bluez.faults.mute = False
    site.intake.events.clear()
    await picture_arrives(site)
    await adapter.stop(5)
    assert site.rung("new_scanner") == 2
    assert site.bluez.powered


async def test_radio_that_recovery_itself_switches_off_is_no_failure(
    site: BleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def off_and_on(path: str, address: str) -> None:
        site.bluez.set_powered(powered=False)
        await asyncio.sleep(1.5 * ENDING_S)
        site.bluez.set_powered(powered=True)
        site.bluez.faults.mute = False

    # The real one uses management sockets, which no fake has: make test-bluez runs it.
    monkeypatch.setattr("adapters.ble.service.auto_recover", off_and_on)
    monkeypatch.setattr("adapters.ble.recovery._ORDER", (Rung.AUTO_RECOVERY,))
    camera = camera_at(site)
    adapter = site.adapter(unchecked=SOON_SILENT)
    await adapter.start()
    await picture_arrives(site)
    site.bluez.drop(camera)
    site.bluez.faults.mute = True
    await until(lambda: site.rung("auto_recovery") == 1, "the rung")
    site.intake.events.clear()
    await picture_arrives(site)
    await adapter.stop(5)
    assert not site.meter.counts("gateway_ble_failures_total", reason="powered_off")


# --- many ---------------------------------------------------------------------------------------------


async def test_more_cameras_than_connections_take_fair_turns(site: BleSite) -> None:
    cameras = [camera_of("openglass", jpeg(5_000, n), address=f"AA:BB:CC:DD:EE:{n:02X}") for n in range(7)]
    site.bluez.add(*cameras)
    async with site.serving(connections_max=2):
        await until(lambda: all(camera.photos >= 2 for camera in cameras), "two turns each")
        most, least = max(camera.photos for camera in cameras), min(camera.photos for camera in cameras)
    assert site.bluez.links_high <= 2
    assert most - least <= 2
    assert {jpeg(5_000, n) for n in range(7)} == set(site.pictures())


async def test_picture_that_is_cut_by_the_end_of_a_turn_is_counted(site: BleSite) -> None:
    first = camera_of("openglass", jpeg(4_000))
    second = camera_of("openglass", jpeg(4_000, 1), address="AA:BB:CC:DD:EE:02")
    site.bluez.add(first, second)
    site.bluez.faults.add("Disconnect", Fault(delay_s=0.5))
    async with site.serving(connections_max=1):
        await until(lambda: site.bluez.calls["Disconnect"] >= 1, "the end of a turn")
        assert site.outcome("gap") == 0
        leaving = first if first.air is not None else second
        leaving.pause_s = 0.1  # 21 notifications: it is cut in the middle
        leaving.take_photo()
        await until(lambda: site.outcome("gap") == 1, "the picture that was cut")
