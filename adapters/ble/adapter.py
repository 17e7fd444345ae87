"""The BLE adapter: one scanner for all, links one at a time, a session for each, until the radio is gone.

When BlueZ, its bus or the adapter goes away the adapter fails with one line that says the cure, and the supervisor
starts it again until it works. Trouble with scanning alone is met here, by the ladder of recovery.py.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from gateway.errors import AdapterUnavailable
from gateway.messages import DeviceCommand
from gateway.ports import Adapter, Clock, Intake, Meter, StatusSink
from gateway.settings import BleSettings, LimitsSettings

if TYPE_CHECKING:
    from adapters.ble.advertisements import AdvertisementDecoder
    from adapters.ble.service import BleService

log = structlog.get_logger(__name__)

# A Disconnect that works is given this much of a second at least, whatever the deadline.
SHARE_MIN_S = 0.4


class BleAdapter:
    """Implements ports.Adapter. May be started again after a stop or a failure."""

    name = "ble"

    def __init__(self, build: Callable[[], "BleService"]) -> None:
        self._build = build
        self._service: BleService | None = None
        self._run: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when scanning. Raises AdapterUnavailable with the cure."""
        # Built once: cameras with half a picture, and how far recovery went, outlive a failure.
        service = self._service = self._service or self._build()
        await service.open()
        self._run = asyncio.create_task(service.run(), name="ble")

    async def failed(self) -> None:
        """Raise AdapterUnavailable when the radio is gone or does not recover; never return otherwise."""
        assert self._run is not None, "failed() before start()"
        await asyncio.wait({self._run})
        if not self._run.cancelled() and (error := self._run.exception()) is not None:
            raise _told(error) from error
        await asyncio.Event().wait()

    async def stop(self, deadline_s: float) -> None:
        """Begin nothing new, let the intake finish what is whole, close every link. Keeps its deadline.

        A bluetoothd that answers nothing costs a share of it: half is the intake's, the rest the links', the scan's
        and the bus's.
        """
        run, self._run = self._run, None
        if self._service is None:
            return
        ends_at = asyncio.get_running_loop().time() + deadline_s
        if run is not None:
            await self._service.settle(deadline_s / 2)
            self._service.hurry(_share(ends_at))
            run.cancel()
            await asyncio.wait({run})
            if not run.cancelled():
                run.exception()
        await self._service.close(_share(ends_at))

    async def tell(self, command: DeviceCommand) -> bool:
        """Return whether the device was told: ports.CommandTarget."""
        return await self.command(command.device_id, command.name, command.value)

    async def command(self, device_id: str, name: str, value: int | None) -> bool:
        """Return True when the device was told: the write is done, confirmed where the profile writes with response.

        False when no such device is linked now, or its link was lost meanwhile. Raises CommandUnknown. ``value`` is
        clamped to the bounds that the profile gives. Takes ``ble.gatt_timeout_s`` at most for each write.
        """
        return self._service is not None and await self._service.command(device_id, name, value)

    def describe(self) -> str:
        """Return which radio."""
        return "" if self._service is None else self._service.describe()


def _share(ends_at: float) -> float:
    """Return what one of the calls that are left may take."""
    return max(ends_at - asyncio.get_running_loop().time(), SHARE_MIN_S) / 4


def _told(error: BaseException) -> AdapterUnavailable:
    """Return the first reason that the operator can do something about, of those in a group."""
    for one in _leaves(error):
        if isinstance(one, AdapterUnavailable):
            return one
    return AdapterUnavailable(f"the BLE adapter broke: {error!r}")


def _leaves(error: BaseException) -> Sequence[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return (error,)
    return [leaf for one in error.exceptions for leaf in _leaves(one)]


def create_ble_adapter(
    *, settings: BleSettings, limits: LimitsSettings, intake: Intake, meter: Meter, clock: Clock, status: StatusSink
) -> Adapter:
    """Return an adapter that is not started. Loads nothing: bleak, profiles and keys are loaded by its start."""

    def build() -> "BleService":
        return _service(settings=settings, limits=limits, intake=intake, meter=meter, clock=clock, status=status)

    return BleAdapter(build)


def _service(
    *, settings: BleSettings, limits: LimitsSettings, intake: Intake, meter: Meter, clock: Clock, status: StatusSink
) -> "BleService":
    try:
        import uuid6

        from adapters.ble.desk import Desk
        from adapters.ble.directory import Directory
        from adapters.ble.profiles import load_profiles
        from adapters.ble.service import BleService
    except ImportError as error:
        raise AdapterUnavailable(f"Bluetooth needs Linux and its libraries: {error}. pip install bleak") from error

    desk = Desk(intake=intake, limits=limits, clock=clock, meter=meter, mint_id=lambda: str(uuid6.uuid7()))
    return BleService(
        settings=settings,
        limits=limits,
        directory=Directory(settings, load_profiles(settings.profiles_dir)),
        decoders=_decoders(settings),
        desk=desk,
        clock=clock,
        meter=meter,
        status=status,
        rng=random.Random(),  # noqa: S311  jitter of back-off, no secret
    )


def _decoders(settings: BleSettings) -> "Sequence[AdvertisementDecoder]":
    """Return decoders if any device could be a beacon; cameras alone need no extra."""
    from adapters.ble.advertisements import load_bind_keys
    from adapters.ble.decoders import create_decoders

    if not settings.unlisted_sensors and all(one.profile or one.readings for one in settings.device):
        return ()
    try:
        return create_decoders(load_bind_keys(settings.bind_keys_file))
    except AdapterUnavailable as error:
        if settings.unlisted_sensors:
            raise
        log.warning("ble_no_advertised_readings", detail=str(error))
        return ()
