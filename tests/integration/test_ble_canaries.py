"""Private details of bleak and dbus-fast that the adapter relies on: a release that changes them fails here first."""

import asyncio
from pathlib import Path

from bleak.backends.bluezdbus import manager as bluez_manager

from adapters.ble.radio import Advert, Scan, _bus_is_dead, forget_bus
from gateway.simulators.bluez.faults import Fault
from tests.fakes.ble_site import BleSite, ble_site, needs_dbus_daemon, until

pytestmark = needs_dbus_daemon


def _ignore(_: Advert) -> None:
    """Nobody listens."""


async def _dead(site: BleSite, manager: bluez_manager.BlueZManager) -> None:
    """Kill the bus, and return when bleak knows."""
    assert manager._bus_watcher_task is not None
    await site.bus.kill()
    await asyncio.wait({manager._bus_watcher_task}, timeout=5)


async def test_bleak_keeps_one_manager_for_a_loop_which_can_be_forgotten(tmp_path: Path) -> None:
    async with ble_site(tmp_path) as site:
        scan = Scan("hci0", _ignore)
        await scan.start()
        manager = bluez_manager._global_instances[asyncio.get_running_loop()]
        assert _bus_is_dead() is False
        await _dead(site, manager)
        assert _bus_is_dead() is True
        forget_bus()
        assert asyncio.get_running_loop() not in bluez_manager._global_instances
        assert _bus_is_dead() is False


async def test_forgetting_the_bus_ends_the_scan_that_bluetoothd_keeps_for_us(tmp_path: Path) -> None:
    async with ble_site(tmp_path) as site:
        scan = Scan("hci0", _ignore)
        await scan.start()
        site.bluez.faults.add("StopDiscovery", Fault(hang=True))
        await scan.stop(0.2)
        await until(lambda: not site.bluez.discovering, "the end of the scan")


async def test_scan_that_ends_on_a_dead_bus_leaves_no_failed_write_that_nobody_awaits(tmp_path: Path) -> None:
    async with ble_site(tmp_path) as site:
        scan = Scan("hci0", _ignore)
        await scan.start()
        manager = bluez_manager._global_instances[asyncio.get_running_loop()]
        await _dead(site, manager)
        await scan.stop(5)
        assert manager._bus is not None
        assert manager._bus._writer is not None
        last = manager._bus._writer.fut
        assert last is None or last.exception() is None, "asyncio would tell of it when it is collected"


async def test_new_scan_after_a_dead_bus_hears_again_and_only_once(tmp_path: Path) -> None:
    async with ble_site(tmp_path) as site:
        scan = Scan("hci0", _ignore)
        await scan.start()
        await _dead(site, bluez_manager._global_instances[asyncio.get_running_loop()])
        await scan.stop(5)
        await site.bluez.stop()
        await site.bus.start()
        await site.bluez.start()
        again = Scan("hci0", _ignore)
        await again.start()
        manager = bluez_manager._global_instances[asyncio.get_running_loop()]
        assert [len(callbacks) for callbacks in manager._advertisement_callbacks.values()] == [1]
        await again.stop(5)
