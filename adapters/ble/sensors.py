"""Readings: out of advertisements, and out of standard characteristics that are read or notified.

A sensor cannot be told "later": what the intake cannot take now is lost, and the next one counts as news. Identical
repeats within ``ble.repeat_window_s`` are one event; a listed device not heard for its time is told as silent, once.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from adapters.ble.advertisements import AdvertisementDecoder, Heard, RepeatWindow, SensedValues, SilenceWatch
from adapters.ble.contract import Verdict
from adapters.ble.desk import Desk
from adapters.ble.diagnosis import RadioError
from adapters.ble.directory import Directory
from adapters.ble.gatt_values import characteristics_named, decode_values
from adapters.ble.radio import Advert, Link
from gateway.errors import ReadingInvalid
from gateway.ports import Clock, Meter
from gateway.readings import parse_readings
from gateway.settings import BleDeviceSettings, BleSettings

log = structlog.get_logger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Sensors:
    """All that is sensed, on its way to the desk."""

    def __init__(
        self,
        *,
        settings: BleSettings,
        directory: Directory,
        decoders: Sequence[AdvertisementDecoder],
        desk: Desk,
        clock: Clock,
        meter: Meter,
        spawn: Spawn,
    ) -> None:
        self._directory = directory
        self._unlisted = settings.unlisted_sensors
        self._decoders = decoders
        self._desk = desk
        self._clock = clock
        self._meter = meter
        self._spawn = spawn
        self._window = RepeatWindow(window_s=settings.repeat_window_s)
        limits_s = {one.effective_device_id: one.silent_after_s or settings.silent_after_s for one in settings.device}
        self._silence = SilenceWatch(expected=limits_s, now_s=clock.monotonic())

    def advertised(self, advert: Advert) -> None:
        """Take an advertisement of anybody."""
        device_id = self._directory.sensor_id(advert.address, advert.name, unlisted=self._unlisted)
        if device_id is None:
            return
        self.heard(device_id)
        if not advert.service_data and not advert.manufacturer_data:
            return
        heard = Heard(
            address=advert.address,
            name=advert.name,
            rssi=advert.rssi,
            service_data=advert.service_data,
            manufacturer_data=advert.manufacturer_data,
        )
        for decoder in self._decoders:
            sensed = decoder.decode(heard, self._clock.monotonic())
            if sensed is not None:
                self.sensed(device_id, sensed)
                return

    def sensed(self, device_id: str, sensed: SensedValues) -> None:
        """Submit it, unless it was just said."""
        if self._window.is_news(device_id, sensed.fingerprint, self._clock.monotonic()):
            self._spawn(self._submit(device_id, sensed))
        else:
            self._meter.count("gateway_ble_readings_total", outcome="repeat")

    def heard(self, device_id: str) -> None:
        """Take note of a sign of life."""
        if self._silence.heard(device_id, self._clock.monotonic()):
            log.info("ble_device_back", device_id=device_id)

    def tell_silent(self, linked: Iterable[str]) -> None:
        """Report who has fallen silent. Those that are connected do not advertise, and are well."""
        for device_id in linked:
            self.heard(device_id)
        for device_id in self._silence.newly_silent(self._clock.monotonic()):
            log.warning("ble_device_silent", device_id=device_id)
        self._meter.level("gateway_ble_devices_silent", self._silence.silent)

    async def _submit(self, device_id: str, sensed: SensedValues) -> None:
        try:
            readings = parse_readings(sensed.body, content_type="", now=self._clock.now())
        except ReadingInvalid as error:
            log.warning("ble_reading_unusable", device_id=device_id, detail=error.detail)
            self._meter.count("gateway_ble_readings_total", outcome=Verdict.REFUSED)
            return
        verdict = Verdict.LATER
        try:
            verdict = await self._desk.submit_reading(device_id, readings)
        finally:
            self._meter.count("gateway_ble_readings_total", outcome=verdict)
            if verdict is Verdict.LATER:
                self._window.forget(device_id)


class GattReader:
    """The standard characteristics of one listed device. Raises AdapterUnavailable for a name that is none."""

    def __init__(self, *, device: BleDeviceSettings, sensors: Sensors, clock: Clock) -> None:
        self._rows = characteristics_named(device.readings)
        self._device_id = device.effective_device_id
        self._sensors = sensors
        self._clock = clock
        self._due_s = float("-inf")
        self.interval_s = device.read_interval_s
        self.notify = device.notify

    async def read_when_due(self, link: Link) -> None:
        """Read all of them and submit them as one reading, if it is time. Raises RadioError."""
        if self._clock.monotonic() < self._due_s:
            return
        raw: dict[str, bytes] = {}
        for one in self._rows:
            row = link.any_characteristic(one.uuid)
            if row is not None:
                raw[one.name] = await link.read(row)
        # Only now: a device that failed in the middle is read at its next connection.
        self._due_s = self._clock.monotonic() + self.interval_s
        if not raw:
            raise RadioError("profile_mismatch", "the device has none of the characteristics in its readings")
        self._submit(raw)

    async def subscribe(self, link: Link) -> None:
        """Have each as a notification from now on."""
        for one in self._rows:
            row = link.any_characteristic(one.uuid)
            if row is not None:
                await link.subscribe(row, partial(self._notified, one.name))

    def _notified(self, name: str, data: bytes) -> None:
        self._submit({name: data})

    def _submit(self, raw: Mapping[str, bytes]) -> None:
        values = decode_values(raw)
        if values:
            self._sensors.sensed(self._device_id, SensedValues(values=values, fingerprint=repr(sorted(values.items()))))
