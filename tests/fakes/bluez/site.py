"""A site for tests: private bus, fake bluetoothd, fake intake, and the real adapter on real bleak."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from adapters.ble.adapter import BleAdapter, create_ble_adapter
from gateway.messages import Image
from gateway.settings import BleSettings, LimitsSettings
from tests.fakes.bluez.bluetoothd import FakeBluetoothd
from tests.fakes.bluez.private_bus import PrivateBus, private_bus
from tests.fakes.intake import FakeIntake, RecordingMeter

PATIENCE_S = 20.0


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

    def adapter(self, **settings: object) -> BleAdapter:
        """Return an adapter that is not started; unlisted cameras are ours unless said otherwise."""
        given = {"enabled": True, "unlisted_cameras": True, **settings}
        adapter = create_ble_adapter(
            settings=BleSettings.model_validate(given),
            limits=LimitsSettings(),
            intake=self.intake,
            meter=self.meter,
            clock=WallClock(),
        )
        assert isinstance(adapter, BleAdapter)
        return adapter

    @contextlib.asynccontextmanager
    async def serving(self, **settings: object) -> AsyncIterator[BleAdapter]:
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

    def rung(self, rung: str) -> float:
        return self.meter.counts("gateway_ble_recovery_total", rung=rung)


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
