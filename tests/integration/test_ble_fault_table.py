"""Every fault switch of the simulated BlueZ, in a table: what breaks, and within which time pictures come again.

The stated times are those of docs/PROTOCOLS-ble.md ("When something goes wrong"). The adapter runs under the gateway's
own supervisor, with one connection slot: if a fault lost it, nothing would come again. After each fault exactly one
client has notifications on, and after the stop no task, link, scan or socket is left.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import adapters.ble.bluez
import adapters.ble.radio
import adapters.ble.service
from adapters.ble.adapter import BleAdapter
from gateway.messages import Image
from gateway.simulators.bluez.camera import SimulatedCamera
from gateway.simulators.bluez.faults import FAILED, IN_PROGRESS, Fault
from gateway.simulators.bluez.peripheral import Peripheral
from gateway.simulators.bluez.sensor import Thermometer
from gateway.simulators.devices.ble_cameras import CAMERAS
from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera
from gateway.supervisor import keep_running, serve_adapter
from tests.fakes.ble_site import (
    ADDRESS,
    BleSite,
    WallClock,
    acquiring_profile,
    ble_site,
    camera_of,
    jpeg,
    needs_dbus_daemon,
    open_sockets,
    until,
)

pytestmark = needs_dbus_daemon

PICTURE = jpeg(12_000)
DEVICE_ID = "ble-aabbccddee01"
# The limits that a call has in these tests, in place of 5 to 20 s.
CALL_LIMIT_S = 0.4
STOP_DEADLINE_S = 2.0
# What the table of the docs adds to the limits of the calls (a closed link, a back-off, a new link, a picture: 5 s),
# and how soon an outage is told (1 s, with ENDING_S): with room for a machine that runs other tests at the same time.
AFTER_S = 20.0
TOLD_S = 5.0
FAILS, HANGS = Fault(error=FAILED), Fault(hang=True)
# For calls that are not answered; those that fail meet the limits that ship.
SHORT: Mapping[str, object] = {"connect_timeout_s": CALL_LIMIT_S, "gatt_timeout_s": CALL_LIMIT_S}


class ShortestWait(random.Random):
    """Restarts come after half their longest wait."""

    def random(self) -> float:
        return 0.0


@dataclass(kw_only=True)
class World:
    """A site, and the adapter under the supervisor."""

    site: BleSite
    adapter: BleAdapter
    device: Peripheral

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def serve() -> None:
            await serve_adapter(self.adapter, on_started=lambda: None, stop_deadline_s=STOP_DEADLINE_S)

        part = asyncio.create_task(keep_running("ble", serve, clock=WallClock(), rng=ShortestWait()), name="part")
        try:
            yield
        finally:
            part.cancel()
            await asyncio.wait({part})

    async def delivered(self) -> None:
        """Return when something whole was committed that was submitted after this call."""
        before = len(self.site.intake.events)
        await until(lambda: len(self.site.intake.events) > before, "a committed event")

    async def photo(self) -> None:
        """Return when a photo came that was asked for after this call."""
        before = len(self.site.intake.events)
        while len(self.site.intake.events) == before:
            await self.adapter.command(DEVICE_ID, "photo", None)
            await asyncio.sleep(0.2)

    async def lose_link(self, *, by_gateway: bool) -> None:
        """Have the link ended by the device, or by the gateway, which does so when a write fails."""
        if by_gateway:
            self.site.bluez.faults.add("WriteValue", FAILS)
            assert await self.adapter.command(DEVICE_ID, "photo", None) is False
        else:
            self.site.bluez.drop(self.device)

    def failures(self) -> float:
        """Return how often the radio's going away was counted, for whatever reason."""
        counts = self.site.meter.counted
        return sum(number for (name, _), number in counts.items() if name == "gateway_ble_failures_total")

    def assert_one_link(self) -> None:
        assert self.site.bluez.links == 1
        assert self.site.bluez.notify_clients == 1, "each notification once"

    async def assert_nothing_left(self, tasks_before: set[asyncio.Task[Any]], sockets_before: int) -> None:
        await until(lambda: self.site.bluez.notify_clients == 0, "no client with notifications on")
        assert self.site.bluez.links == 0
        assert not self.site.bluez.discovering
        assert self.site.meter.levels.get("gateway_ble_links", 0) == 0
        assert _ours(asyncio.all_tasks() - tasks_before) == []
        # bleak's own connection to the bus stays for the next scan.
        await until(lambda: open_sockets() <= sockets_before + 1, "no socket left")


def _ours(tasks: set[asyncio.Task[Any]]) -> list[str]:
    named = {task.get_name(): getattr(task.get_coro(), "__qualname__", "") for task in tasks}
    own = ("fake-bluetoothd", "camera-")
    return [f"{name} {what}" for name, what in named.items() if not name.startswith(own) and "BlueZManager" not in what]


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters.ble.radio, "SCAN_CALL_TIMEOUT_S", CALL_LIMIT_S)
    monkeypatch.setattr(adapters.ble.service, "SCAN_CALL_TIMEOUT_S", CALL_LIMIT_S)
    monkeypatch.setattr(adapters.ble.bluez, "CALL_TIMEOUT_S", CALL_LIMIT_S)
    monkeypatch.setattr(adapters.ble.service, "CLOSE_TIMEOUT_S", CALL_LIMIT_S)
    monkeypatch.setattr(adapters.ble.service, "ADOPT_EVERY_S", CALL_LIMIT_S)


@contextlib.asynccontextmanager
async def world(folder: Path, reach: Peripheral, **settings: Any) -> AsyncIterator[World]:
    """Yield a world that is not running; left, nothing of the adapter may be there any more."""
    async with ble_site(folder) as site:
        site.bluez.add(reach)
        made = World(site=site, adapter=site.adapter(connections_max=1, **settings), device=reach)
        tasks_before, sockets_before = asyncio.all_tasks(), open_sockets()
        yield made
        await made.assert_nothing_left(tasks_before, sockets_before)


# --- calls: an error, or no answer --------------------------------------------------------------------


@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize("fault", [FAILS, HANGS], ids=["fails", "hangs"])
@pytest.mark.parametrize("method", ["Connect", "Disconnect", "StartNotify", "AcquireNotify", "WriteValue"])
async def test_call_for_a_link_that_goes_wrong_costs_one_link(tmp_path: Path, method: str, fault: Fault) -> None:
    settings = {**SHORT} if fault.hang else {}
    if method == "AcquireNotify":
        settings["profiles_dir"] = acquiring_profile(tmp_path)
    async with world(tmp_path, camera_of("openglass", PICTURE), **settings) as made, made.running():
        await made.delivered()
        made.site.bluez.faults.add(method, fault)
        async with asyncio.timeout(AFTER_S + 2 * CALL_LIMIT_S):
            await made.lose_link(by_gateway=method == "Disconnect")
            await until(lambda: not made.site.bluez.faults.calls[method], "the fault")
            await made.delivered()
        made.assert_one_link()
    assert set(made.site.pictures()) == {PICTURE}


@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize("fault", [FAILS, HANGS], ids=["fails", "hangs"])
async def test_read_that_goes_wrong_costs_one_link(tmp_path: Path, fault: Fault) -> None:
    sensor = {"address": ADDRESS, "readings": ["temperature"], "read_interval_s": 1}
    settings = {**SHORT, "device": [sensor], "repeat_window_s": 0}
    async with world(tmp_path, Thermometer(address=ADDRESS), **settings) as made:
        made.site.bluez.faults.add("ReadValue", fault)
        async with made.running(), asyncio.timeout(AFTER_S + 2 * CALL_LIMIT_S):
            await made.delivered()
        assert not made.site.bluez.faults.calls["ReadValue"]


OPENING = ["GetManagedObjects", "SetDiscoveryFilter", "StartDiscovery"]


@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize("fault", [FAILS, Fault(error=IN_PROGRESS), HANGS], ids=["fails", "in-progress", "hangs"])
@pytest.mark.parametrize("method", OPENING)
async def test_call_for_a_scan_that_goes_wrong_costs_one_restart(tmp_path: Path, method: str, fault: Fault) -> None:
    async with world(tmp_path, camera_of("openglass", PICTURE)) as made:
        made.site.bluez.faults.add(method, fault)
        async with made.running():
            async with asyncio.timeout(AFTER_S + 2 * CALL_LIMIT_S):
                await made.delivered()
            made.assert_one_link()
        assert not made.site.bluez.faults.calls[method]


@pytest.mark.parametrize("method", ["Disconnect", "StopDiscovery", "Connect", "WriteValue"])
async def test_stop_keeps_its_deadline_although_bluetoothd_hangs_and_the_next_start_serves(
    tmp_path: Path, method: str
) -> None:
    async with world(tmp_path, camera_of("openglass", PICTURE)) as made:
        await made.adapter.start()
        await made.delivered()
        made.site.bluez.faults.always[method] = HANGS
        calls = made.site.bluez.calls[method]
        if method in {"Connect", "WriteValue"}:
            made.site.bluez.drop(made.device)
            await until(lambda: made.site.bluez.calls[method] > calls, "a call that hangs")
        async with asyncio.timeout(STOP_DEADLINE_S):
            await made.adapter.stop(STOP_DEADLINE_S)
        # A link that bluetoothd was told in vain to end is taken over, and so is a scan.
        made.site.bluez.faults.always.clear()
        async with made.running(), asyncio.timeout(AFTER_S):
            await made.delivered()


@pytest.mark.parametrize("fault", [FAILS, HANGS], ids=["fails", "hangs"])
@pytest.mark.usefixtures("short_limits")
async def test_scan_that_can_not_be_ended_costs_the_link_at_most(tmp_path: Path, fault: Fault) -> None:
    soon_silent = {"scan_silent_max_s": 0.5}
    async with world(tmp_path, camera_of("openglass", PICTURE), unchecked=soon_silent) as made, made.running():
        await made.delivered()
        # The only device is linked, so nobody advertises: a new scan is tried, and the old one can't be ended.
        made.site.bluez.faults.add("StopDiscovery", fault)
        async with asyncio.timeout(AFTER_S):
            await until(lambda: not made.site.bluez.faults.calls["StopDiscovery"], "the fault")
            await asyncio.sleep(2 * CALL_LIMIT_S)
            await made.photo()
        made.assert_one_link()
        assert made.site.rung("power_cycle") == 0, "the link was taken over"


# --- the radio, bluetoothd, the bus -------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Outage:
    """Something below the adapter that goes away, and what brings it back."""

    begin: Callable[[BleSite], Awaitable[None]]
    end: Callable[[BleSite], Awaitable[None]]


async def _power(site: BleSite, *, powered: bool) -> None:
    site.bluez.set_powered(powered=powered)


async def _plug(site: BleSite, *, plugged_in: bool) -> None:
    site.bluez.plug_in() if plugged_in else site.bluez.unplug()


async def _bus_comes_back(site: BleSite) -> None:
    await site.bluez.stop()
    await site.bus.start()
    await site.bluez.start()


OUTAGES = {
    "power off": Outage(begin=partial(_power, powered=False), end=partial(_power, powered=True)),
    "adapter unplugged": Outage(begin=partial(_plug, plugged_in=False), end=partial(_plug, plugged_in=True)),
    "bluetoothd restart": Outage(begin=lambda site: site.bluez.stop(), end=lambda site: site.bluez.start()),
    "dead bus": Outage(begin=lambda site: site.bus.kill(), end=_bus_comes_back),
}


@pytest.mark.parametrize("name", OUTAGES)
async def test_outage_is_told_at_once_and_pictures_come_again_after_it(tmp_path: Path, name: str) -> None:
    async with world(tmp_path, camera_of("openglass", PICTURE)) as made, made.running():
        await made.delivered()
        failures = made.failures()
        await OUTAGES[name].begin(made.site)
        async with asyncio.timeout(TOLD_S):
            await until(lambda: made.failures() > failures, "the metric of the failure")
        await OUTAGES[name].end(made.site)
        async with asyncio.timeout(AFTER_S):
            await made.delivered()
        made.assert_one_link()
    assert set(made.site.pictures()) == {PICTURE}


@pytest.mark.usefixtures("short_limits")
async def test_outage_while_a_link_is_closed_loses_no_slot(tmp_path: Path) -> None:
    async with world(tmp_path, camera_of("openglass", PICTURE)) as made, made.running():
        await made.delivered()
        made.site.bluez.faults.add("Disconnect", HANGS)
        await made.lose_link(by_gateway=True)
        await until(lambda: not made.site.bluez.faults.calls["Disconnect"], "a link that is being closed")
        failures = made.failures()
        made.site.bluez.unplug()
        await until(lambda: made.failures() > failures, "the metric of the failure")
        made.site.bluez.plug_in()
        async with asyncio.timeout(AFTER_S):
            await made.delivered()
        made.assert_one_link()


# --- on the air: all protocols at once ----------------------------------------------------------------


def cameras() -> dict[str, SimulatedCamera]:
    return {
        profile: camera_of(profile, jpeg(12_000, number), address=f"AA:BB:CC:DD:EE:{number:02X}")
        for number, profile in enumerate(CAMERAS, start=1)
    }


class OnAir:
    """All cameras, and which of their pictures came."""

    def __init__(self, site: BleSite) -> None:
        self.site = site
        self.cameras = cameras()
        site.bluez.add(*self.cameras.values())
        for camera in self.cameras.values():
            if isinstance(camera.firmware, GatewayImage1Camera):
                camera.take_photo()
        self.pictures = {profile: jpeg(12_000, number) for number, profile in enumerate(CAMERAS, start=1)}

    def came(self, profile: str) -> list[bytes]:
        device_id = f"ble-{self.cameras[profile].address.replace(':', '').lower()}"
        submitted = [one for one in self.site.intake.submissions if one.device_id == device_id]
        return [one.payload.data for one in submitted if isinstance(one.payload, Image)]

    def whole(self) -> set[str]:
        return {profile for profile, picture in self.pictures.items() if picture in self.came(profile)}

    def damaged(self) -> set[str]:
        return {profile for profile, picture in self.pictures.items() if set(self.came(profile)) - {picture}}

    def refused(self) -> set[str]:
        """Return the protocols of which a transfer was given up, counted by its reason."""
        return {profile for profile in CAMERAS if any(self._count(profile, reason) for reason in REASONS)}

    def _count(self, profile: str, reason: str) -> float:
        return self.site.outcome(reason, profile="openglass" if profile == "omiglass" else profile)


@dataclass(frozen=True, kw_only=True)
class AirFault:
    """A switch, and by protocol what comes of it: a whole picture, or a refusal that is counted."""

    faults: Mapping[str, object]
    whole: set[str]
    refused: set[str]
    within_s: float


REASONS = ("gap", "size", "crc", "idle_timeout")
ALL = set(CAMERAS)
INDEXED = {"openglass", "omiglass", "gateway-image-1"}
SIZED = {"nordic-its", "esp32cam-cafebabe"}
# What jpeg-stream can't see, as docs/PROTOCOLS-ble.md says: then the decoder is the only judge.
BLIND = {"jpeg-stream"}
# Three seconds of silence end a picture (limits.idle_timeout_s), after one more the next is asked for.
SILENCE_S = 4.0
ON_AIR = {
    "link dropped in each picture": AirFault(faults={"drop_after": 20}, whole=ALL, refused=set(), within_s=AFTER_S),
    "each notification twice": AirFault(faults={"double": True}, whole=INDEXED, refused=SIZED, within_s=AFTER_S),
    "one notification of each picture lost": AirFault(
        faults={"lose": {10}}, whole=ALL - BLIND, refused=SIZED, within_s=SILENCE_S + AFTER_S
    ),
    "every tenth notification lost": AirFault(
        faults={"lose": set(range(10, 100_000, 10))},
        whole={"gateway-image-1"},
        refused=ALL - BLIND - {"gateway-image-1"},
        within_s=SILENCE_S + AFTER_S,
    ),
}


@pytest.mark.parametrize("name", ON_AIR)
async def test_fault_on_the_air_ends_in_a_whole_picture_or_a_counted_refusal(tmp_path: Path, name: str) -> None:
    row = ON_AIR[name]
    async with ble_site(tmp_path) as site:
        air = OnAir(site)
        for switch, value in row.faults.items():
            setattr(site.bluez.faults, switch, value)
        async with site.serving(connections_max=len(CAMERAS)), asyncio.timeout(row.within_s):
            await until(lambda: row.whole <= air.whole() and row.refused <= air.refused(), "what the table says")
            assert site.bluez.notify_clients <= len(CAMERAS) + 1, "nordic-its has two characteristics, others one"
        assert air.damaged() <= BLIND
        assert site.bluez.links == site.bluez.notify_clients == 0
