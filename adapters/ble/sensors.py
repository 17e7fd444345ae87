"""Readings: out of advertisements, and out of standard characteristics that are read or notified.

A sensor cannot be told "later": what the intake cannot take now is lost, and the next one counts as news. Identical
repeats within ``ble.repeat_window_s`` are one event. A listed device not heard for its time is reported as silent,
once, and as back when it is.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import structlog

from adapters.ble.advertisements import AdvertisementDecoder, Heard, SensedValues
from adapters.ble.contract import Verdict
from adapters.ble.desk import Desk
from adapters.ble.diagnosis import RadioError
from adapters.ble.directory import Directory
from adapters.ble.gatt_values import characteristics_named, decode_values
from adapters.ble.radio import Advert, Link
from adapters.ble.sensor_watch import AdvertMemory, RepeatWindow, SilenceWatch
from gateway.errors import ReadingInvalid
from gateway.messages import DeviceStatus, Transport
from gateway.ports import Clock, Meter, StatusSink
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
        status: StatusSink,
        spawn: Spawn,
    ) -> None:
        self._directory = directory
        self._unlisted = settings.unlisted_sensors
        self._decoders = decoders
        self._desk = desk
        self._clock = clock
        self._meter = meter
        self._status = status
        self._spawn = spawn
        self._window = RepeatWindow(window_s=settings.repeat_window_s)
        self._memory = AdvertMemory()
        limits_s = {one.effective_device_id: one.silent_after_s or settings.silent_after_s for one in settings.device}
        self._silence = SilenceWatch(expected=limits_s, now_s=clock.monotonic())

    def advertised(self, advert: Advert) -> None:
        """Take an advertisement of anybody."""
        device_id = self._directory.sensor_id(advert.address, advert.name, unlisted=self._unlisted)
        if device_id is None:
            return
        self.heard(device_id)
        if not self._decoders or not (advert.service_data or advert.manufacturer_data):
            return
        heard = Heard(
            address=advert.address,
            name=advert.name,
            rssi=advert.rssi,
            service_data=advert.service_data,
            manufacturer_data=advert.manufacturer_data,
            service_uuids=advert.service_uuids,
        )
        if not self._was_just_said(device_id, heard):
            self._decode(device_id, heard)

    def _was_just_said(self, device_id: str, heard: Heard) -> bool:
        last = self._memory.last(heard)
        if last is None:
            return False
        if last.sensed is None:
            return True  # no decoder knew it, and none will now
        if not self._window.repeats(device_id, last.sensed, self._clock.monotonic()):
            return False
        self._meter.count("gateway_ble_readings_total", outcome="repeat")
        return True

    def _decode(self, device_id: str, heard: Heard) -> None:
        now_s = self._clock.monotonic()
        fresh = replace(heard, manufacturer_data=self._memory.new_data(heard))
        sensed = next((one for one in (each.decode(fresh, now_s) for each in self._decoders) if one is not None), None)
        self._memory.remember(heard, sensed)
        if sensed is not None:
            self.sensed(device_id, sensed)

    def sensed(self, device_id: str, sensed: SensedValues) -> None:
        """Submit it, unless it was just said."""
        if self._window.is_news(device_id, sensed, self._clock.monotonic()):
            self._spawn(self._submit(device_id, sensed))
        else:
            self._meter.count("gateway_ble_readings_total", outcome="repeat")

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
                self._window.forget(device_id, sensed)

    # --- silence --------------------------------------------------------------------------------------

    def listens(self) -> None:
        """Take note that the radio works (again, perhaps after hours)."""
        self._silence.listens_from(self._clock.monotonic())

    def heard(self, device_id: str) -> None:
        """Take note of a sign of life."""
        if self._silence.heard(device_id, self._clock.monotonic()):
            self._note(device_id, "online")

    def tell_silent(self, linked: Iterable[str]) -> None:
        """Report who has fallen silent. Those that are connected do not advertise, and are well."""
        for device_id in linked:
            self.heard(device_id)
        for device_id in self._silence.newly_silent(self._clock.monotonic()):
            limit_s = self._silence.limit_s(device_id)
            log.warning("ble_device_silent", device_id=device_id, silent_after_s=limit_s)
            self._note(device_id, "silent", f"not heard for {limit_s:g} s")
        self._meter.level("gateway_ble_devices_silent", self._silence.silent)

    def _note(self, device_id: str, state: Literal["online", "silent"], detail: str = "") -> None:
        self._status.note(DeviceStatus(device_id=device_id, transport=Transport.BLE, state=state, detail=detail))


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
