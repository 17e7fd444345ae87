"""What comes in: one thing that a device asks us to keep, and by which way it came."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Transport(StrEnum):
    """How a submission reached the gateway."""

    HTTP = "http"
    MQTT = "mqtt"
    BLE = "ble"
    CAMERA_PULL = "camera_pull"
    GATEWAY = "gateway"  # what the gateway itself has to tell: outcomes of commands, devices that come and go


class IdReuse(StrEnum):
    """What to do when a device sends a known id with other bytes (a counter that restarted)."""

    REJECT = "reject"
    NEW_EVENT = "new_event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture as the device sent it: encoded bytes (JPEG, PNG, BMP, GIF, WebP), at least one; never in a repr."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One set of values from a sensor. ``values_json`` is a JSON object, compact, keys in the device's order."""

    values_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Readings that are committed together or not at all.

    ``data`` is what the device sent, byte for byte: its hash recognises a redelivery.
    ``is_array`` tells ``[{...}]`` (ids get the suffix ``/n``, from 0) from ``{...}``.
    """

    data: bytes = field(repr=False)
    items: tuple[Reading, ...]
    is_array: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The transport's own name of a delivery, for devices that give no ids.

    ``key`` names it (MQTT: client, session, packet id, topic); ``repeated`` is True when the transport says that
    this may be a repetition (MQTT: DUP). Then, and only then, the same key with the same bytes is a redelivery.
    """

    key: str
    repeated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One thing that somebody asks us to keep. ``submission_id`` is the device's own id, or None if it gave none."""

    device_id: str
    transport: Transport
    payload: Image | Readings
    submission_id: str | None = None
    captured_at: datetime | None = None
    on_id_reuse: IdReuse = IdReuse.NEW_EVENT
    delivery: Delivery | None = None
    is_notice: bool = False  # the gateway's own word, of a device or of itself: no policy holds it back


def item_id(submission_id: str, item: int | None) -> str:
    """Return ``submission_id``, or ``submission_id/item`` for an element of an array submission."""
    return submission_id if item is None else f"{submission_id}/{item}"
