"""Readings in advertisements: decoded by bthome-ble behind a Protocol, which is imported only when asked for.

A decoder of the library remembers values of earlier advertisements and mixes them in; so each advertisement gets a
new one here, and only the counter against replays of encrypted ones is carried over.
"""

import json
import logging
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gateway.errors import AdapterUnavailable

Scalar = bool | int | float | str

# Devices whose last reading or counter is remembered; those longest unheard are forgotten first.
DEVICES_MAX = 4096
_BTHOME_UUIDS = frozenset(
    f"0000{short}-0000-1000-8000-00805f9b34fb"
    for short in ("fcd2", "181c", "181e")  # v2; v1 plain and encrypted
)
_UNIT_WORDS = {"°C": "c", "°F": "f", "%": "percent", "°": "degrees"}
_UNIT_SIGNS = str.maketrans({"/": "_per_", "³": "3", "²": "2", "µ": "u", "μ": "u", "°": "deg", "⋅": "_", "·": "_"})
# What tells of the packet and the radio, not of the world; it would make every repeat look new.
_NOT_A_VALUE = frozenset({"packet_id", "signal_strength"})
# What the library raises for bytes that are not what they say they are.
_BAD_BYTES = (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError)
_BIND_KEY = re.compile(r"(?P<address>[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5})\s+(?P<key>[0-9A-Fa-f]{32})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One advertisement. UUIDs in full and lower case."""

    address: str
    name: str
    rssi: int
    service_data: Mapping[str, bytes] = field(repr=False)
    manufacturer_data: Mapping[int, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SensedValues:
    """What an advertisement tells. Equal ``fingerprint`` from one device: the same said again."""

    values: Mapping[str, Scalar]
    fingerprint: str

    @property
    def body(self) -> bytes:
        """The values as a JSON object, UTF-8: the submission's payload."""
        return json.dumps(self.values, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class AdvertisementDecoder(Protocol):
    """One family of sensors."""

    def decode(self, heard: Heard, now_s: float) -> SensedValues | None:
        """Return what is told, or None: not of this family, damaged, encrypted without a key, or told before."""


class BthomeDecoder:
    """BTHome, versions 1 and 2 (bthome.io), by bthome-ble. ``bind_keys``: address → 16 bytes."""

    def __init__(self, *, bind_keys: Mapping[str, bytes]) -> None:
        self._bind_keys = bind_keys
        self._counters: OrderedDict[str, float] = OrderedDict()

    def decode(self, heard: Heard, now_s: float) -> SensedValues | None:
        if _BTHOME_UUIDS.isdisjoint(heard.service_data):
            return None
        from bthome_ble import BTHomeBluetoothDeviceData
        from habluetooth import BluetoothServiceInfoBleak

        decoder = BTHomeBluetoothDeviceData(bindkey=self._bind_keys.get(heard.address))
        decoder.encryption_counter = self._counters.get(heard.address, 0.0)
        info = BluetoothServiceInfoBleak(
            name=heard.name or heard.address,
            address=heard.address,
            rssi=heard.rssi,
            manufacturer_data=dict(heard.manufacturer_data),
            service_data=dict(heard.service_data),
            service_uuids=list(heard.service_data),
            source="",
            device=None,  # type: ignore[arg-type]  # the library reads only the bytes
            advertisement=None,
            connectable=False,
            time=now_s,
            tx_power=None,
        )
        try:
            update = decoder.update(info)
        except _BAD_BYTES:
            return None
        self._remember(heard.address, decoder.encryption_counter)
        return _sensed(update)

    def _remember(self, address: str, counter: float) -> None:
        if not counter:
            return
        self._counters[address] = counter
        self._counters.move_to_end(address)
        while len(self._counters) > DEVICES_MAX:
            self._counters.popitem(last=False)


def create_decoders(bind_keys: Mapping[str, bytes]) -> tuple[AdvertisementDecoder, ...]:
    """Return the decoders that are installed. Raises AdapterUnavailable if the extra is not."""
    try:
        import bthome_ble  # noqa: F401 -- a look whether it is there, once
    except ImportError as error:
        raise AdapterUnavailable("sensors' advertisements need the extra: pip install 'gateway-bridge[ble]'") from error
    # It warns of each malformed advertisement, and anybody within reach may send those ten times a second.
    logging.getLogger("bthome_ble").setLevel(logging.ERROR)
    return (BthomeDecoder(bind_keys=bind_keys),)


def parse_bind_keys(text: str) -> dict[str, bytes]:
    """Return address → key. Empty lines and lines that begin with # are skipped; ValueError names a bad line."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        plain = line.strip()
        if not plain or plain.startswith("#"):
            continue
        found = _BIND_KEY.fullmatch(plain)
        if found is None:
            raise ValueError(f"line {number} is not an address and 32 hex digits")
        keys[found["address"].upper()] = bytes.fromhex(found["key"])
    return keys


def load_bind_keys(file: Path | None) -> dict[str, bytes]:
    """Return the keys in ``ble.bind_keys_file``; none if it is not set. Raises AdapterUnavailable, without the keys."""
    if file is None:
        return {}
    try:
        return parse_bind_keys(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterUnavailable(f"ble.bind_keys_file = {file} can't be used: {error}") from error


class RepeatWindow:
    """Tells news from repeats: equal fingerprints of one device within ``window_s`` of the first are one event."""

    def __init__(self, *, window_s: float) -> None:
        self._window_s = window_s
        self._last: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def is_news(self, device_id: str, fingerprint: str, now_s: float) -> bool:
        """Return whether to make an event of it. Call :meth:`forget` if it could not be committed."""
        last = self._last.get(device_id)
        if last is not None and last[0] == fingerprint and now_s - last[1] < self._window_s:
            return False
        self._last[device_id] = (fingerprint, now_s)
        self._last.move_to_end(device_id)
        while len(self._last) > DEVICES_MAX:
            self._last.popitem(last=False)
        return True

    def forget(self, device_id: str) -> None:
        """Let the next repeat count as news."""
        self._last.pop(device_id, None)


class SilenceWatch:
    """Which devices have not been heard for their time; each is told once, and once more when it is back."""

    def __init__(self, *, expected: Mapping[str, float], now_s: float) -> None:
        self._limits_s = dict(expected)
        self._heard_s = dict.fromkeys(expected, now_s)
        self._silent: set[str] = set()

    def heard(self, device_id: str, now_s: float) -> bool:
        """Take note of a sign of life; return whether the device had been told as silent."""
        if device_id not in self._limits_s:
            return False
        self._heard_s[device_id] = now_s
        was_silent = device_id in self._silent
        self._silent.discard(device_id)
        return was_silent

    def newly_silent(self, now_s: float) -> Sequence[str]:
        """Return the devices that have become silent since the last call."""
        due = [one for one, limit_s in self._limits_s.items() if now_s - self._heard_s[one] >= limit_s]
        fresh = [one for one in due if one not in self._silent]
        self._silent.update(fresh)
        return fresh

    @property
    def silent(self) -> int:
        """How many are silent now."""
        return len(self._silent)


def _sensed(update: Any) -> SensedValues | None:
    """Flatten an update of the sensor-state-data family; None if it tells nothing of the world."""
    values: dict[str, Scalar] = {}
    packet_id: object = None
    units = {key: one.native_unit_of_measurement for key, one in update.entity_descriptions.items()}
    for key, one in update.entity_values.items():
        if key.key == "packet_id":
            packet_id = one.native_value
        elif key.key not in _NOT_A_VALUE:
            _put(values, _key(key.key, units.get(key)), one.native_value)
    for key, one in update.binary_entity_values.items():
        _put(values, key.key, one.native_value)
    events = update.events
    for key, event in events.items():
        _put(values, key.key, event.event_type)
    if not values:
        return None
    # A button pressed twice says the same twice: only its packet id tells it from a repeat.
    about = [values, packet_id if events else None]
    return SensedValues(values=values, fingerprint=json.dumps(about, sort_keys=True, default=str))


def _put(values: dict[str, Scalar], key: str, value: object) -> None:
    if isinstance(value, float) and not abs(value) < float("inf"):
        return  # JSON has no such numbers
    if value is not None:
        values[key] = value if isinstance(value, bool | int | float | str) else str(value)


def _key(name: str, unit: object) -> str:
    """Return the value's name with its unit last: ``temperature`` in °C → ``temperature_c``."""
    if unit is None:
        return name
    text = str(getattr(unit, "value", unit))
    word = _UNIT_WORDS.get(text) or re.sub(r"[^a-z0-9_]", "", text.translate(_UNIT_SIGNS).lower())
    return name if not word or name.endswith(f"_{word}") else f"{name}_{word}"
