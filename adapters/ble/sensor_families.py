"""Sensors' advertisements through the sensor-state-data libraries, each behind :class:`FamilyDecoder`.

They share one interface, so a family is a row of a table; whichever are installed are used. A parser of theirs
remembers values of earlier advertisements and mixes them in; so each advertisement gets a new one here.
"""

import importlib
import json
import logging
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import structlog

from adapters.ble.advertisements import DEVICES_MAX, Heard, Scalar, SensedValues
from adapters.ble.profiles import whole_uuid

log = structlog.get_logger(__name__)

_UNIT_WORDS = {"°C": "c", "°F": "f", "%": "percent", "°": "degrees"}
_UNIT_SIGNS = str.maketrans({"/": "_per_", "³": "3", "²": "2", "µ": "u", "μ": "u", "°": "deg", "⋅": "_", "·": "_"})
# What tells of the packet and the radio, not of the world; it would make every repeat look new.
_NOT_A_VALUE = frozenset({"packet_id", "signal_strength"})
# What these libraries raise for bytes that are not what they say they are.
_BAD_BYTES = (
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    struct.error,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One library. ``services`` and ``companies``: what its sensors advertise; a family with neither is asked always.

    ``keyed``: its parser takes the key of an encrypting sensor.
    """

    package: str
    parser: str
    services: frozenset[str] = frozenset()
    companies: frozenset[int] = frozenset()
    keyed: bool = False

    @property
    def module(self) -> str:
        """Its name for Python."""
        return self.package.replace("-", "_")

    def may_be(self, heard: Heard) -> bool:
        """Return whether it is worth asking. Cheap; a library is loaded only when it is."""
        if not self.services and not self.companies:
            return True
        return not (self.services.isdisjoint(heard.service_data) and self.companies.isdisjoint(heard.manufacturer_data))


def _uuids(*short: str) -> frozenset[str]:
    return frozenset(whole_uuid(one) for one in short)


# v2; v1 plain and encrypted (bthome.io/format).
_BTHOME = Family(
    package="bthome-ble",
    parser="BTHomeBluetoothDeviceData",
    services=_uuids("fcd2", "181c", "181e"),
    keyed=True,
)
# Services and companies are those that each library itself looks for first. The first that tells something wins:
# those that look at the advertised name only are last.
FAMILIES = (
    # MiBeacon; scales; HHCC's newer plants. Loads aiohttp, 18 MB: only once such a device is heard.
    Family(
        package="xiaomi-ble",
        parser="XiaomiBluetoothDeviceData",
        services=_uuids("fe95", "181b", "181d", "fd50"),
        keyed=True,
    ),
    Family(package="qingping-ble", parser="QingpingBluetoothDeviceData", services=_uuids("fdcd")),
    Family(package="ruuvitag-ble", parser="RuuvitagBluetoothDeviceData", companies=frozenset({0x0499})),
    Family(package="bluemaestro-ble", parser="BlueMaestroBluetoothDeviceData", companies=frozenset({0x0133})),
    Family(package="oralb-ble", parser="OralBBluetoothDeviceData", companies=frozenset({0x00DC})),
    Family(package="mopeka-iot-ble", parser="MopekaIOTBluetoothDeviceData", companies=frozenset({0x0059})),
    Family(package="sensorpush-ble", parser="SensorPushBluetoothDeviceData"),
    Family(package="thermobeacon-ble", parser="ThermoBeaconBluetoothDeviceData"),
    Family(package="thermopro-ble", parser="ThermoProBluetoothDeviceData"),
    Family(package="inkbird-ble", parser="INKBIRDBluetoothDeviceData"),
    Family(package="govee-ble", parser="GoveeBluetoothDeviceData"),
)


class FamilyDecoder:
    """Implements AdvertisementDecoder by one library. ``bind_keys``: address → key."""

    def __init__(self, family: Family, *, bind_keys: Mapping[str, bytes]) -> None:
        self.package = family.package
        self._family = family
        self._bind_keys = bind_keys
        self._parser: Callable[..., Any] | None = None
        self._broken = False
        # They warn of each malformed advertisement, and anybody within reach may send those ten times a second.
        logging.getLogger(family.module).setLevel(logging.CRITICAL)

    def decode(self, heard: Heard, now_s: float) -> SensedValues | None:
        if self._broken or not self._family.may_be(heard):
            return None
        try:
            return self._decode(heard, now_s)
        except ImportError as error:
            self._broken = True
            log.error("ble_decoder_broken", package=self.package, detail=str(error))
            return None

    def _decode(self, heard: Heard, now_s: float) -> SensedValues | None:
        parser = self._new_parser(heard.address)
        try:
            update = parser.update(_service_info(heard, now_s))
        except _BAD_BYTES:
            return None
        self._read(heard.address, parser)
        return _sensed(update)

    def _new_parser(self, address: str) -> Any:
        if self._parser is None:
            self._parser = getattr(importlib.import_module(self._family.module), self._family.parser)
        return self._parser(bindkey=self._bind_keys.get(address)) if self._family.keyed else self._parser()

    def _read(self, address: str, parser: Any) -> None:
        """Take note of what must be carried over to the next advertisement of that device: nothing, mostly."""


class BthomeDecoder(FamilyDecoder):
    """BTHome, versions 1 and 2. The counter against replays of encrypted advertisements is carried over."""

    def __init__(self, *, bind_keys: Mapping[str, bytes]) -> None:
        super().__init__(_BTHOME, bind_keys=bind_keys)
        self._counters: OrderedDict[str, float] = OrderedDict()

    def _new_parser(self, address: str) -> Any:
        parser = super()._new_parser(address)
        parser.encryption_counter = self._counters.get(address, 0.0)
        return parser

    def _read(self, address: str, parser: Any) -> None:
        if not parser.encryption_counter:
            return
        self._counters[address] = parser.encryption_counter
        self._counters.move_to_end(address)
        while len(self._counters) > DEVICES_MAX:
            self._counters.popitem(last=False)


def installed_families(*, bind_keys: Mapping[str, bytes]) -> tuple[FamilyDecoder, ...]:
    """Return a decoder for each library that is there; none is loaded yet."""
    found: list[FamilyDecoder] = []
    if find_spec(_BTHOME.module) is not None:
        found.append(BthomeDecoder(bind_keys=bind_keys))
    found += [FamilyDecoder(one, bind_keys=bind_keys) for one in FAMILIES if find_spec(one.module) is not None]
    return tuple(found)


def key_of(name: str, unit: object) -> str:
    """Return a value's name with its unit last: ``temperature`` in °C → ``temperature_c``."""
    if unit is None:
        return name
    text = str(getattr(unit, "value", unit))
    word = _UNIT_WORDS.get(text) or re.sub(r"[^a-z0-9_]", "", text.translate(_UNIT_SIGNS).lower())
    return name if not word or name.endswith(f"_{word}") else f"{name}_{word}"


def _service_info(heard: Heard, now_s: float) -> Any:
    from habluetooth import BluetoothServiceInfoBleak

    return BluetoothServiceInfoBleak(
        name=heard.name or heard.address,
        address=heard.address,
        rssi=heard.rssi,
        manufacturer_data=dict(heard.manufacturer_data),
        service_data=dict(heard.service_data),
        service_uuids=list(heard.service_uuids),
        source="",
        device=None,  # type: ignore[arg-type]  # the libraries read only the bytes
        advertisement=None,
        connectable=False,
        time=now_s,
        tx_power=None,
    )


def _sensed(update: Any) -> SensedValues | None:
    """Flatten an update of the sensor-state-data family; None if it tells nothing of the world."""
    values: dict[str, Scalar] = {}
    packet_id: object = None
    units = {key: one.native_unit_of_measurement for key, one in update.entity_descriptions.items()}
    for key, one in update.entity_values.items():
        name, unit = _name(key), units.get(key)
        if name == "packet_id":
            packet_id = one.native_value
        elif name not in _NOT_A_VALUE and not (unit is not None and isinstance(one.native_value, str)):
            # A text where a number of some unit belongs is the library's "error": there is no value then.
            _put(values, key_of(name, unit), one.native_value)
    for key, one in update.binary_entity_values.items():
        _put(values, _name(key), one.native_value)
    for key, event in update.events.items():
        _put(values, _name(key), event.event_type)
    if not values:
        return None
    # A button pressed twice says the same twice: only its packet id tells it from a repeat.
    about = [values, packet_id if update.events else None]
    return SensedValues(values=values, fingerprint=json.dumps(about, sort_keys=True, default=str))


def _name(key: Any) -> str:
    """Return a value's name, behind the name of the probe that it belongs to, if the device has several."""
    name = str(getattr(key.key, "value", key.key))
    return f"{key.device_id}_{name}" if key.device_id else name


def _put(values: dict[str, Scalar], key: str, value: object) -> None:
    if isinstance(value, float) and not abs(value) < float("inf"):
        return  # JSON has no such numbers
    if value is not None:
        values[key] = value if isinstance(value, bool | int | float | str) else str(value)
