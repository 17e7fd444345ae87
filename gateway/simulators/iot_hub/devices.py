"""Who may connect, and what waits for them. Keys live in ``devices.json`` so that a restart keeps the identities."""

import base64
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# IoT Hub's own limit of undelivered cloud-to-device messages for one device.
CLOUD_TO_DEVICE_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudToDevice:
    """A message for a device; it leaves the queue when the device has acknowledged it."""

    packet_id: int
    body: bytes
    properties: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class Device:
    """One identity. ``client_id`` is ``device`` or ``device/module``."""

    client_id: str
    primary_key: str
    secondary_key: str
    waiting: list[CloudToDevice] = field(default_factory=list)
    desired: dict[str, object] = field(default_factory=lambda: {"$version": 1})
    reported: dict[str, object] = field(default_factory=lambda: {"$version": 1})

    @property
    def keys(self) -> tuple[str, str]:
        return (self.primary_key, self.secondary_key)


def load_devices(directory: Path, client_ids: Iterable[str]) -> dict[str, Device]:
    """Return the devices by client id, with the keys of an earlier run where there was one."""
    path = directory / "devices.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    for client_id in client_ids:
        known.setdefault(client_id, {"primary_key": new_key(), "secondary_key": new_key()})
    path.touch(mode=0o600)
    path.write_text(json.dumps(known, indent=2))
    return {client_id: Device(client_id=client_id, **known[client_id]) for client_id in client_ids}


def new_key() -> str:
    """Return a fresh device key."""
    return base64.b64encode(secrets.token_bytes(32)).decode()
