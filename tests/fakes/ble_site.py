"""A site for tests: private bus, fake bluetoothd, fake intake, and the real adapter on real bleak.

bleak keeps one manager per event loop, connected to one bus: ``forget_bleak`` closes and drops it, so that the next
test meets its own bus.
"""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from adapters.ble.adapter import BleAdapter, create_ble_adapter
from gateway.messages import Image
from gateway.settings import BleSettings, LimitsSettings
from gateway.simulators.bluez.bluetoothd import FakeBluetoothd
from gateway.simulators.bluez.camera import SimulatedCamera
from gateway.simulators.bluez.private_bus import ADDRESS_VARIABLE, PrivateBus
from gateway.simulators.devices.ble_cameras import CAMERAS
from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera
from tests.fakes.intake import FakeIntake, RecordingMeter, RecordingStatusSink

PATIENCE_S = 60.0
ADDRESS = "AA:BB:CC:DD:EE:01"

needs_dbus_daemon = pytest.mark.skipif(
    shutil.which("dbus-daemon") is None, reason="missing package: dbus (for dbus-daemon)"
)


class WallClock:
    """Implements ports.Clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(kw_only=True)
class BleSite:
    """Everything that a test looks at."""

    bus: PrivateBus
    bluez: FakeBluetoothd
    intake: FakeIntake = field(default_factory=FakeIntake)
    meter: RecordingMeter = field(default_factory=RecordingMeter)
    status: RecordingStatusSink = field(default_factory=RecordingStatusSink)

    def adapter(self, *, unchecked: Mapping[str, object] | None = None, **settings: object) -> BleAdapter:
        """Return an adapter that is not started; unlisted cameras are ours unless said otherwise.

        ``unchecked`` settings may be out of their bounds: a test has no 90 s for a silence.
        """
        given = {"enabled": True, "unlisted_cameras": True, **settings}
        adapter = create_ble_adapter(
            settings=BleSettings.model_validate(given).model_copy(update=unchecked),
            limits=LimitsSettings(),
            intake=self.intake,
            meter=self.meter,
            clock=WallClock(),
            status=self.status,
        )
        assert isinstance(adapter, BleAdapter)
        return adapter

    @contextlib.asynccontextmanager
    async def serving(self, **settings: Any) -> AsyncIterator[BleAdapter]:
        """Yield a started adapter."""
        adapter = self.adapter(**settings)
        await adapter.start()
        try:
            yield adapter
        finally:
            await adapter.stop(5)

    def pictures(self) -> list[bytes]:
        """Return what was submitted as pictures, in order."""
        return [one.payload.data for one in self.intake.submissions if isinstance(one.payload, Image)]

    def outcome(self, outcome: str, profile: str = "openglass") -> float:
        return self.meter.counts("gateway_ble_transfers_total", profile=profile, outcome=outcome)

    def outcome_of_sessions(self, reason: str) -> float:
        return self.meter.counts("gateway_ble_sessions_total", reason=reason)

    def rung(self, rung: str) -> float:
        return self.meter.counts("gateway_ble_recovery_total", rung=rung)


async def forget_bleak() -> None:
    """Close bleak's connection to the bus of this event loop, and forget what it and its likes remember of it."""
    import bleak_retry_connector.bleak_manager as retry_manager
    from bleak.backends.bluezdbus import manager as bleak_manager

    found = bleak_manager._global_instances.pop(asyncio.get_running_loop(), None)
    retry_manager._reset_dbus_socket_cache()
    if found is None:
        return
    if found._bus is not None:
        found._bus.disconnect()
    if found._bus_watcher_task is not None:
        await asyncio.wait({found._bus_watcher_task})


@contextlib.asynccontextmanager
async def private_bus(folder: Path) -> AsyncIterator[PrivateBus]:
    """Yield a running bus that bleak takes for the system's."""
    before = os.environ.get(ADDRESS_VARIABLE)
    bus = PrivateBus(folder)
    os.environ[ADDRESS_VARIABLE] = bus.address
    await bus.start()
    try:
        yield bus
    finally:
        await forget_bleak()
        await bus.kill()
        if before is None:
            del os.environ[ADDRESS_VARIABLE]
        else:
            os.environ[ADDRESS_VARIABLE] = before


@contextlib.asynccontextmanager
async def ble_site(folder: Path) -> AsyncIterator[BleSite]:
    """Yield a site whose bluetoothd runs and has nobody in reach."""
    async with private_bus(folder) as bus:
        bluez = FakeBluetoothd(bus.address)
        await bluez.start()
        try:
            yield BleSite(bus=bus, bluez=bluez)
        finally:
            await bluez.stop()


async def until(true: Callable[[], bool], what: str) -> None:
    """Return when ``true()``; fail, saying what was waited for, after a patience that no healthy run needs."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up_at, f"never came: {what}"
        await asyncio.sleep(0.01)


def jpeg(size: int, seed: int = 0) -> bytes:
    """Return bytes that look like a JPEG from outside."""
    return b"\xff\xd8\xff" + bytes((number * 7 + seed) % 255 for number in range(size - 5)) + b"\xff\xd9"


def camera_of(profile: str, picture: bytes, *, address: str = ADDRESS) -> SimulatedCamera:
    """Return a camera of a built-in profile that sees the same for ever."""
    return SimulatedCamera(address=address, firmware=CAMERAS[profile](repeat(picture)))


def acquiring_profile(folder: Path) -> Path:
    """Return a folder of profiles with the built-in openglass, its notify mode changed."""
    profiles = folder / "profiles"
    profiles.mkdir()
    text = (files("config") / "ble-profiles" / "openglass.toml").read_text()
    (profiles / "openglass.toml").write_text(f'notify_mode = "acquire-notify"\n{text}')
    return profiles


def open_sockets() -> int:
    """Return how many sockets this process has open."""
    return sum(str(fd.readlink()).startswith("socket:") for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink())


@dataclass
class Image1Device:
    """A ``gateway-image-1`` device whose pictures the test offers."""

    camera: SimulatedCamera
    firmware: GatewayImage1Camera

    def offer(self, transfer_id: int, payload: bytes, content: int = 1) -> None:
        self.camera.send(self.firmware.offer(payload, transfer_id=transfer_id, content=content))


def image1_device(*, mtu: int = 247, pause_s: float = 0) -> Image1Device:
    """Return a device that keeps nothing yet."""
    firmware = GatewayImage1Camera(iter(()))
    return Image1Device(SimulatedCamera(address=ADDRESS, firmware=firmware, mtu=mtu, pause_s=pause_s), firmware)
