"""The values that cross module borders: what comes in, what is stored, what goes out.

All are immutable. Times are timezone-aware UTC. Ids are text. No value here does I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal


class Transport(StrEnum):
    """How a submission reached the gateway."""

    HTTP = "http"
    MQTT = "mqtt"
    BLE = "ble"
    CAMERA_PULL = "camera_pull"
    GATEWAY = "gateway"  # what the gateway itself has to tell: outcomes of commands, devices that come and go


class Kind(StrEnum):
    """What an event tells."""

    CLASSIFICATION = "classification"
    READING = "reading"
    SUMMARY = "summary"  # counts of one device and kind over a window


class EventState(StrEnum):
    """The life of an event: pending → delivered | dead; a dead one may be requeued.

    What a policy holds back is filtered or summarised from its commit on: stored, and never sent.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    FILTERED = "filtered"
    SUMMARISED = "summarised"


# 0 is the highest and 9 the lowest, as in the routes of IoT Edge; without a policy everything is in the middle.
PRIORITY_HIGHEST = 0
PRIORITY_LOWEST = 9
PRIORITY_DEFAULT = 5


class ClockState(StrEnum):
    """How far an event's ``received_at`` can be believed."""

    SYNCED = "synced"  # the wall clock was right when it was read
    CORRECTED = "corrected"  # set right afterwards, from the time since the machine started
    UNSYNCED = "unsynced"  # what the wall clock said; compare it with no other


class IdReuse(StrEnum):
    """What to do when a device sends a known id with other bytes (a counter that restarted)."""

    REJECT = "reject"
    NEW_EVENT = "new_event"


# Of IoT Edge routes: 0 is the most urgent, 9 the least.
PRIORITY_DEFAULT = 5


# --- time ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """The wall clock (UTC) and the time since the machine started, read at one moment."""

    wall: datetime
    boottime_s: float

    @property
    def offset_s(self) -> float:
        """Unix time at which the machine started, if the wall clock is right: it changes only when the clock jumps."""
        return self.wall.timestamp() - self.boottime_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """A reading, and whether the wall clock could be believed then."""

    reading: ClockReading
    is_synced: bool


# --- in -----------------------------------------------------------------------------------------------


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


# --- vision -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One class of the model with its probability as the model gave it (0..1, 8 decimal places)."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which model spoke: the hashes are of the files' bytes, lower-case hex."""

    name: str
    model_sha256: str
    labels_sha256: str
    runtime: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What a model says about one picture. Label order is the model's; every class is present."""

    predictions: tuple[Prediction, ...]
    model: ModelIdentity
    image_format: str
    image_width: int
    image_height: int
    decode_ms: float
    preprocess_ms: float
    inference_ms: float

    @property
    def top_label(self) -> str | None:
        """The most probable label, the model's first of equals; None if the model said nothing."""
        if not self.predictions:
            return None
        return max(self.predictions, key=lambda prediction: prediction.probability).label


# --- policies -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OnChange:
    """Send what differs from the last one sent; ``max_s``: and one that old nevertheless (None: never).

    ``band``: numbers that differ by no more are equal. ``values``: the values of a reading that count; empty: all.
    """

    max_s: float | None
    band: float = 0.0
    values: tuple[str, ...] = ()


class SummaryMode(StrEnum):
    """Whether single results are sent as well."""

    INSTEAD = "instead"
    BESIDES = "besides"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarise:
    """Count an event in its device's window, which closes ``window_s`` (powered time) after its first event."""

    mode: SummaryMode
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryMoment:
    """When the first or last event of a window came in: the best that is known now, as of an event."""

    received_at: datetime
    clock: ClockState
    boot: int | None
    boottime_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came of one device in one window. ``counts_json`` is a JSON object (gateway/summaries.py)."""

    of_kind: Kind
    window_s: float
    first: SummaryMoment
    last: SummaryMoment
    counts_json: str


# --- stored -------------------------------------------------------------------------------------------

Result = Classification | Reading | Summary


def kind_of(result: Result) -> Kind:
    """Return what a result is."""
    match result:
        case Classification():
            return Kind.CLASSIFICATION
        case Reading():
            return Kind.READING
        case Summary():
            return Kind.SUMMARY


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDraft:
    """An event before it has a sequence. ``item`` is the index in an array submission, else None."""

    submission_id: str
    item: int | None
    device_id: str
    transport: Transport
    received_at: datetime
    captured_at: datetime | None
    payload_sha256: str
    payload_bytes: int
    result: Result
    on_id_reuse: IdReuse
    delivery: Delivery | None = None
    boottime_s: float | None = None  # since the start of the machine that runs now; None: not known
    clock: ClockState = ClockState.UNSYNCED
    priority: int = PRIORITY_DEFAULT
    ttl_s: float | None = None  # None: it waits for the cloud for ever
    fate: EventState = EventState.PENDING  # or FILTERED, SUMMARISED: stored, and never sent
    on_change: OnChange | None = None  # may filter it yet
    summarise: Summarise | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A committed event. ``sequence`` is gap-free within ``epoch``, from 1.

    ``key`` names it within the outbox, over all epochs: marks and requeues go by it. In the first epoch of a site both
    are the same; ``base`` is the difference (gateway/outbox/epochs.py).

    ``received_at`` is the best that is known now, and ``clock`` says what it is worth. Where that is nothing,
    ``received_after`` and ``received_before`` are what the neighbouring starts of the machine leave possible.
    """

    epoch: str
    sequence: int
    submission_id: str
    item: int | None
    device_id: str
    transport: Transport
    kind: Kind
    state: EventState
    received_at: datetime
    captured_at: datetime | None
    payload_sha256: str
    payload_bytes: int
    id_reused: bool
    result: Result
    dead_reason: str | None = None
    clock: ClockState = ClockState.UNSYNCED
    received_after: datetime | None = None
    received_before: datetime | None = None
    priority: int = PRIORITY_DEFAULT
    base: int = 0

    @property
    def key(self) -> int:
        """The event's number in the outbox."""
        return self.base + self.sequence

    @property
    def item_id(self) -> str:
        """The id a consumer sees: the submission's, with ``/n`` for the n-th of an array."""
        return item_id(self.submission_id, self.item)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingEvent:
    """What is told of a committed event that waits for the hub.

    ``result_json`` is the result as it is stored, a summary as it is told. Times and numbers are as in Event.
    """

    epoch: str
    sequence: int
    item_id: str
    device_id: str
    transport: Transport
    kind: Kind
    received_at: datetime
    captured_at: datetime | None
    payload_sha256: str
    id_reused: bool
    result_json: str
    priority: int = PRIORITY_DEFAULT
    clock: ClockState = ClockState.UNSYNCED
    received_after: datetime | None = None
    received_before: datetime | None = None
    base: int = 0

    @property
    def key(self) -> int:
        """The event's number in the outbox."""
        return self.base + self.sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedItem:
    """One event of a receipt. ``received_at`` is what the wall clock said, and stays; ``clock``: synced or unsynced."""

    epoch: str
    sequence: int
    item_id: str
    received_at: datetime
    id_reused: bool
    result: Result
    clock: ClockState = ClockState.UNSYNCED


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof that a submission is on disk. ``items`` has one entry, or one per element of an array.

    ``duplicate`` is True when the device had sent the same before: the items are the first ones.
    """

    submission_id: str
    device_id: str
    duplicate: bool
    items: tuple[CommittedItem, ...]

    @property
    def sequence(self) -> int:
        """The sequence of the first item."""
        return self.items[0].sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a device sent and we refused; kept in a bounded table for the operator, never forwarded as an event."""

    device_id: str
    transport: Transport
    refused_at: datetime
    reason: str
    detail: str
    payload_sha256: str | None = None
    payload_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """Tells the cloud that sequences ``first``..``last`` of an epoch will not come, and why. Takes no sequence.

    ``reasons`` counts the range by reason where there are several (``reason`` is then ``mixed``), else it is empty.
    ``labels`` counts classifications by their top label; what is not counted there are readings.
    """

    tombstone_id: int
    epoch: str
    first_sequence: int
    last_sequence: int
    reason: str
    reasons: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)

    @property
    def reason_counts(self) -> Mapping[str, int]:
        """How many sequences of the range each reason has."""
        return self.reasons or {self.reason: self.last_sequence - self.first_sequence + 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """A stretch of sequences without gaps: the life of one outbox file, as a rule.

    A new one names its predecessor and the last sequence known of it (None: not known). ``base``: the keys of its
    events are above it.
    """

    epoch: str
    predecessor: str | None
    predecessor_last_sequence: int | None
    base: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerEpoch:
    """An epoch that ended: what is left of it still goes out under its own name. ``sequence_high``: its last known."""

    epoch: Epoch
    sequence_high: int


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSpan:
    """The lowest and the highest key that is pending under one priority."""

    priority: int
    first_key: int
    last_key: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """Figures of the outbox at one moment.

    ``delivered`` and ``held_back`` count what is still in the file; the totals count since the epoch began, and
    ``sequence_high`` (accepted) is always pending + dead + the totals.
    """

    epoch: Epoch
    sequence_high: int
    pending: int
    delivered: int
    dead: int
    refusals: int
    tombstones_pending: int
    bytes_used: int
    oldest_pending_received_at: datetime | None
    held_back: int = 0
    delivered_total: int = 0
    evicted_total: int = 0
    expired_total: int = 0
    filtered_total: int = 0
    summarised_total: int = 0
    former: tuple[FormerEpoch, ...] = ()


# --- out ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudMessage:
    """One device-to-cloud message: ``body`` is a UTF-8 JSON object; ``properties`` are routing keys."""

    message_id: str
    body: bytes
    properties: Mapping[str, str]
    created_at: datetime
    content_type: Literal["application/json"] = "application/json"
    content_encoding: Literal["utf-8"] = "utf-8"


def item_id(submission_id: str, item: int | None) -> str:
    """Return ``submission_id``, or ``submission_id/item`` for an element of an array submission."""
    return submission_id if item is None else f"{submission_id}/{item}"
