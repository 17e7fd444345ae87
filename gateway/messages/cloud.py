"""What goes to the cloud and what comes from it: telemetry messages, commands, the state of devices."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal

from gateway.messages.submissions import Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudMessage:
    """One device-to-cloud message: ``body`` is a UTF-8 JSON object; ``properties`` are routing keys."""

    message_id: str
    body: bytes
    properties: Mapping[str, str]
    created_at: datetime
    content_type: Literal["application/json"] = "application/json"
    content_encoding: Literal["utf-8"] = "utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A cloud-to-device message, persisted when it arrives. ``command_id`` is the hub's message id, or a hash."""

    command_id: str
    received_at: datetime
    body: bytes
    properties: Mapping[str, str]


class CommandState(StrEnum):
    """The life of a cloud-to-device message: waiting → told | expired | invalid."""

    WAITING = "waiting"
    TOLD = "told"
    EXPIRED = "expired"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCommand:
    """What a device shall do: ``name`` (photo, interval, ...) with an optional number and an optional JSON document."""

    command_id: str
    device_id: str
    name: str
    value: int | None = None
    payload_json: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """That a device came or went. ``detail`` is why, or its last will, as text; bounded."""

    device_id: str
    transport: Transport
    state: Literal["online", "offline", "lost", "silent"]
    detail: str = ""
