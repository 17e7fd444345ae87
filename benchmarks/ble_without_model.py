"""The gateway's BLE path without a model: adapter, intake, outbox with its fsync, and a classifier that knows nothing.

Beside the whole gateway it shows what the radio's path costs and what the model costs.
Usage: ``python -m benchmarks.ble_without_model FOLDER``; ends when killed.
"""

import asyncio
import sys
from pathlib import Path

import uuid6

from adapters.ble.adapter import create_ble_adapter
from gateway.clock import SystemClock
from gateway.crash_journal import MappedCrashJournal
from gateway.device_board import DeviceBoard
from gateway.intake import GatewayIntake, IntakeLimits
from gateway.limits import derive_limits
from gateway.log import configure_logging
from gateway.messages import Classification, Image, ModelIdentity
from gateway.metrics import Metrics
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.settings import BleSettings, Settings
from tests.fakes.classifier import FAKE_MODEL, classification
from tests.fakes.timekeeper import TrustingTimekeeper


class NoModel:
    """Implements ports.Classifier: the same answer for every picture, at once."""

    @property
    def model(self) -> ModelIdentity:
        return FAKE_MODEL

    async def classify(self, image: Image) -> Classification:  # noqa: ARG002 -- that is the point
        return classification()


def _intake(settings: Settings, outbox: SqliteOutbox, folder: Path, metrics: Metrics) -> GatewayIntake:
    derived, limits = derive_limits(settings, cpu_count=2), settings.limits
    return GatewayIntake(
        store=outbox,
        classifier=NoModel(),
        limits=IntakeLimits(
            in_flight_max=derived.in_flight_max,
            in_flight_bytes_max=derived.in_flight_bytes_max,
            image_bytes_max=limits.image_bytes_max,
            reading_bytes_max=limits.reading_bytes_max,
            submit_timeout_s=limits.submit_timeout_s,
        ),
        journal=MappedCrashJournal(folder / "in-work", slots=derived.in_flight_max),
        is_poison=outbox.is_poison,
        mint_id=lambda: str(uuid6.uuid7()),
        clock=SystemClock(),
        timekeeper=TrustingTimekeeper(),
        meter=metrics,
    )


async def main(folder: Path) -> None:
    """Serve cameras until killed."""
    settings, clock, metrics = Settings(), SystemClock(), Metrics()
    outbox = open_outbox(folder, settings=settings.outbox, clock=clock, meter=metrics)
    outbox.start()
    intake = _intake(settings, outbox, folder, metrics)
    intake.open()
    adapter = create_ble_adapter(
        settings=BleSettings(enabled=True, unlisted_cameras=True),
        limits=settings.limits,
        intake=intake,
        meter=metrics,
        clock=clock,
        status=DeviceBoard(intake=intake, events=False, clock=clock, meter=metrics),
    )
    await adapter.start()
    await adapter.failed()


if __name__ == "__main__":
    configure_logging("json", "info")
    asyncio.run(main(Path(sys.argv[1])))
