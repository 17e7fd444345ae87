"""Events → one device-to-cloud message. Pure.

The body is one JSON object, ``gateway-bridge/1``, described key by key in
docs/envelope.schema.json. The cloud dedupes per item by ``(gateway_id, epoch,
sequence)``. Properties are routing keys, there only when every item agrees.

Sizes are exact and in bytes: IoT Hub counts the body, the values of the system
properties, and names and values of the application properties, and bills each
started 4 KB of them (Azure documentation, "Create and read IoT Hub messages").
Each event is encoded once; packing adds lengths and joins bytes.

Limits: a message is at most 240 KB; the hub's own limit is 256 KB.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from urllib.parse import quote

from gateway.messages import CloudMessage, Kind, PendingEvent, Tombstone, Transport, Watermark
from gateway.result_text import label_told, told_classification

SCHEMA = "gateway-bridge/1"
SCHEMA_VERSION = "1"
# 16 KB below IoT Hub's 256 KB: room for what the SDK and the hub add (facts: at most 240 KB, counted in bytes).
MESSAGE_BYTES_MAX = 240 * 1024
# A longer routing value is left out (the body has it): no one routes by it, and every message would pay for it.
PROPERTY_BYTES_MAX = 256
# What IoT Hub allows in property names and values besides letters and digits, without "%", which is our escape.
_PROPERTY_SAFE = "!#$&'*+-.^_`|~"

_MESSAGE_ID_BYTES = 32  # hex digits of half a SHA-256: 128 bits; IoT Hub allows 128 characters
_CREATED_AT_BYTES = 27  # 2026-03-01T12:00:00.000000Z
_SYSTEM_BYTES = _MESSAGE_ID_BYTES + _CREATED_AT_BYTES + len("application/json") + len("utf-8")
_TAIL = b"]}"


KEYS_REMEMBERED_MAX = 512


class NotEncodable(ValueError):
    """This event can't be told in JSON (a probability that is not a number). It will never be sent as it is."""


@dataclass(frozen=True, slots=True)
class RoutingKeys:
    """What a routing query can select by; None where the items of a message differ or have no such thing."""

    kind: str | None
    device_id: str | None
    transport: str | None
    label: str | None

    def agreed(self, event: "EncodedEvent") -> "RoutingKeys":
        """Return the keys on which ``event`` agrees, too."""
        other = event.keys
        kind = self.kind if self.kind == other.kind else None
        device_id = self.device_id if self.device_id == other.device_id else None
        transport = self.transport if self.transport == other.transport else None
        label = self.label if self.label is not None and self.label == event.label() else None
        return RoutingKeys(kind, device_id, transport, label)

    def properties(self) -> dict[str, str]:
        """Return application properties: names and values in IoT Hub's character set, others percent-encoded."""
        pairs = (
            ("schemaVersion", SCHEMA_VERSION),
            ("kind", self.kind or "mixed"),
            ("deviceId", self.device_id),
            ("transport", self.transport),
            ("label", self.label),
        )
        quoted = ((name, quote(value, safe=_PROPERTY_SAFE, errors="replace")) for name, value in pairs if value)
        return {name: value for name, value in quoted if len(value) <= PROPERTY_BYTES_MAX}


TOMBSTONE_KEYS = RoutingKeys("tombstones", None, None, None)


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """One event as it stands in ``items``, and its routing keys but for the label. ``sequence``: its key in the outbox.

    ``epoch``: its epoch where that is not the outbox's present one.
    """

    sequence: int
    item: bytes
    keys: RoutingKeys
    epoch: str | None = None

    def label(self) -> str | None:
        """Return the top label of a classification, else None. Found in the item: few messages agree on one."""
        return label_told(self.item.decode()) if self.keys.kind == Kind.CLASSIFICATION else None

    def all_keys(self) -> RoutingKeys:
        """Return the routing keys of a message with this event alone."""
        label = self.label()
        return self.keys if label is None else replace(self.keys, label=label)


@dataclass(frozen=True, slots=True)
class Header:
    """What each message of an outbox says about itself. ``sequence_high`` must cover every item sent with it."""

    gateway_id: str
    watermark: Watermark

    def of(self, events: Sequence[EncodedEvent]) -> "Header":
        """Return the header of a message with these: that of their own epoch, if it is a former one."""
        for former in self.watermark.former:
            if events and events[0].epoch == former.epoch.epoch:
                known = max(former.sequence_high, *(event.sequence - former.epoch.base for event in events))
                return Header(self.gateway_id, replace(self.watermark, epoch=former.epoch, sequence_high=known))
        return self


def rfc3339(moment: datetime) -> str:
    """Return UTC with milliseconds and ``Z``. Assumes a timezone-aware time."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def encode_event(event: PendingEvent) -> EncodedEvent:
    """Return ``event`` as its item. Raises NotEncodable."""
    if event.kind is Kind.CLASSIFICATION:
        told = _told(event.result_json)
    elif event.kind is Kind.SUMMARY:
        told = f'"summary":{event.result_json}'
    else:
        # The reading's text is a JSON object already: it goes out as the device wrote it.
        told = f'"values":{event.result_json}'
    keys, origin = _origin(event.kind, event.device_id, event.transport)
    captured_at = "null" if event.captured_at is None else f'"{rfc3339(event.captured_at)}"'
    # Written out: on the path of every event, an encoder for a dict of the same keys takes three times as long.
    item = (
        f'{{"sequence":{event.sequence},"submission_id":{_text(event.item_id)},{origin},'
        f'"received_at":"{rfc3339(event.received_at)}","clock":"{event.clock}",{_bounds(event)}'
        f'"captured_at":{captured_at},"id_reused":{"true" if event.id_reused else "false"},'
        f'"payload_sha256":{_text(event.payload_sha256)},{told}}}'
    )
    return EncodedEvent(event.key, _bytes(item), keys, event.epoch)


def count_that_fits(
    header: Header, tombstones: Sequence[Tombstone], events: Sequence[EncodedEvent], *, bytes_max: int
) -> int:
    """Return how many of the first ``events`` make a message of at most ``bytes_max``; at least one if there is one.

    The one may be larger than ``bytes_max``: compare :func:`message_bytes`. A message is of one epoch.
    """
    if not events:
        return 0
    header = header.of(events[:1])
    room = bytes_max - len(_head(header, tombstones)) - len(_TAIL) - len(events[0].item)
    keys, known = events[0].all_keys(), {id(events[0].keys)}
    room_beside_keys = room - _keys_bytes(keys)
    for count, event in enumerate(islice(events, 1, None), 1):
        taken = len(event.item) + 1
        room -= taken
        room_beside_keys -= taken
        if keys.label is not None or id(event.keys) not in known:
            keys = keys.agreed(event)
            known.add(id(event.keys))
            room_beside_keys = room - _keys_bytes(keys)
        if room_beside_keys < 0 or event.epoch != events[0].epoch:
            return count
    return len(events)


def build_message(
    header: Header, tombstones: Sequence[Tombstone], events: Sequence[EncodedEvent], *, created_at: datetime
) -> CloudMessage:
    """Return the message that carries these, at least one of them. Assumes that events are of one epoch."""
    assert tombstones or events, "a message carries something"
    header = header.of(events)
    return CloudMessage(
        message_id=_message_id(header, tombstones, events),
        body=_head(header, tombstones) + b",".join([event.item for event in events]) + _TAIL,
        properties=_agreed(events).properties() if events else TOMBSTONE_KEYS.properties(),
        created_at=created_at,
    )


def message_bytes(message: CloudMessage) -> int:
    """Return the size that IoT Hub counts and bills."""
    return len(message.body) + _properties_bytes(message.properties)


def _agreed(events: Sequence[EncodedEvent]) -> RoutingKeys:
    """Return the keys on which all of these agree."""
    keys, known = events[0].all_keys(), {id(events[0].keys)}
    for event in islice(events, 1, None):
        if keys.label is not None or id(event.keys) not in known:
            keys = keys.agreed(event)
            known.add(id(event.keys))
    return keys


# A site has tens of devices and labels; their events come again and again, and one object for all is quick to compare.
@lru_cache(maxsize=KEYS_REMEMBERED_MAX)
def _origin(kind: Kind, device_id: str, transport: Transport) -> tuple[RoutingKeys, str]:
    """Return the routing keys, and the members of an item that say the same."""
    facts = {"device_id": device_id, "transport": transport, "kind": kind}
    return RoutingKeys(kind, device_id, transport, None), _ENCODER.encode(facts)[1:-1]


@lru_cache(maxsize=KEYS_REMEMBERED_MAX)
def _keys_bytes(keys: RoutingKeys) -> int:
    return _properties_bytes(keys.properties())


def _properties_bytes(properties: Mapping[str, str]) -> int:
    return _SYSTEM_BYTES + sum(len(name) + len(value) for name, value in properties.items())


def _head(header: Header, tombstones: Sequence[Tombstone]) -> bytes:
    told = _json([_tombstone(tombstone) for tombstone in tombstones]) if tombstones else b"[]"
    return _opening(header) + b',"tombstones":' + told + b',"items":['


# Asked for to see what fits and again to build: the same for every message of a page that was read.
@lru_cache(maxsize=2)
def _opening(header: Header) -> bytes:
    epoch = header.watermark.epoch
    predecessor = None
    if epoch.predecessor is not None:
        predecessor = {"epoch": epoch.predecessor, "last_sequence": epoch.predecessor_last_sequence}
    head = {
        "schema": SCHEMA,
        "gateway_id": header.gateway_id,
        "epoch": epoch.epoch,
        "predecessor": predecessor,
        "sequence_high": header.watermark.sequence_high,
    }
    return _json(head)[:-1]


def _tombstone(tombstone: Tombstone) -> dict[str, object]:
    fields: dict[str, object] = {
        "epoch": tombstone.epoch,
        "first_sequence": tombstone.first_sequence,
        "last_sequence": tombstone.last_sequence,
        "reason": tombstone.reason,
    }
    if tombstone.reasons:
        fields["reasons"] = dict(tombstone.reasons)
    if tombstone.labels:
        fields["labels"] = dict(tombstone.labels)
    return fields


def _bounds(event: PendingEvent) -> str:
    """Return between which times an event of unknown time came in, where its neighbours tell; with a comma behind."""
    if event.received_after is None and event.received_before is None:
        return ""
    bounds = (event.received_after, event.received_before)
    told = [None if bound is None else rfc3339(bound) for bound in bounds]
    return f'"received_between":{_ENCODER.encode(told)},'


def _told(result_json: str) -> str:
    try:
        return told_classification(result_json)
    except ValueError as error:
        raise NotEncodable(str(error)) from error


def _message_id(header: Header, tombstones: Sequence[Tombstone], events: Sequence[EncodedEvent]) -> str:
    """Return an id that repeats only if the batch does: a hash over who sends which items and tombstones."""
    batch = [
        header.gateway_id,
        header.watermark.epoch.epoch,
        [event.sequence for event in events],
        [[t.tombstone_id, t.epoch, t.first_sequence, t.last_sequence] for t in tombstones],
    ]
    return hashlib.sha256(_json(batch)).hexdigest()[:_MESSAGE_ID_BYTES]


# Made once: json.dumps with options makes a new encoder for each call.
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_text = _ENCODER.encode  # of a string: quick


def _json(value: object) -> bytes:
    try:
        return _bytes(_ENCODER.encode(value))
    except ValueError as error:
        raise NotEncodable(str(error)) from error


def _bytes(text: str) -> bytes:
    # A lone surrogate has no UTF-8; as \udXXX it is valid JSON.
    return text.encode("utf-8", "backslashreplace")
