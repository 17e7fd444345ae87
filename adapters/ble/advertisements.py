"""What a sensor's advertisement is to us, what it tells, and the keys of those that encrypt. Decoders are beside."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.errors import AdapterUnavailable

Scalar = bool | int | float | str

# Devices whose last reading or counter is remembered; those longest unheard are forgotten first.
DEVICES_MAX = 4096
_BIND_KEY = re.compile(r"(?P<address>[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5})\s+(?P<key>[0-9A-Fa-f]{32}|[0-9A-Fa-f]{24})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One advertisement. UUIDs in full and lower case."""

    address: str
    name: str
    rssi: int
    service_data: Mapping[str, bytes] = field(repr=False)
    manufacturer_data: Mapping[int, bytes] = field(repr=False)
    service_uuids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SensedValues:
    """What an advertisement tells. Equal ``fingerprint`` from one device: the same said again."""

    values: Mapping[str, Scalar]
    fingerprint: str

    @property
    def names(self) -> str:
        """The names of its values: what it is about."""
        return " ".join(self.values)

    @property
    def body(self) -> bytes:
        """The values as a JSON object, UTF-8: the submission's payload."""
        return json.dumps(self.values, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class AdvertisementDecoder(Protocol):
    """One family of sensors."""

    def decode(self, heard: Heard, now_s: float) -> SensedValues | None:
        """Return what is told, or None: not of this family, damaged, encrypted without a key, or told before."""


def parse_bind_keys(text: str) -> dict[str, bytes]:
    """Return address → key. Empty lines and lines that begin with # are skipped; ValueError names a bad line."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        plain = line.strip()
        if not plain or plain.startswith("#"):
            continue
        found = _BIND_KEY.fullmatch(plain)
        if found is None:
            raise ValueError(f"line {number} is not an address and 32 hex digits (24 for old Xiaomi devices)")
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
