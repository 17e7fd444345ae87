"""What is stored: events before and after they have a sequence, and the receipt that says so."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from gateway.messages.clocks import ClockState
from gateway.messages.holding import PRIORITY_DEFAULT, OnChange, Summarise
from gateway.messages.results import Kind, Result
from gateway.messages.submissions import Delivery, IdReuse, Transport, item_id


class EventState(StrEnum):
    """The life of an event: pending → delivered | dead; a dead one may be requeued.

    What a policy holds back is filtered or summarised from its commit on: stored, and never sent.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    FILTERED = "filtered"
    SUMMARISED = "summarised"


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


class PendingEvent(NamedTuple):
    """What is told of a committed event that waits for the hub.

    ``result_json`` is the result as it is stored, a summary as it is told. Times and numbers are as in Event.
    A tuple, since one is made of each row of a backlog: a frozen dataclass of so many fields takes four times as long.
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
