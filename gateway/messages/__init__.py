"""The values that cross module borders: what comes in, what is stored, what goes out.

All are immutable. Times are timezone-aware UTC. Ids are text. No value here does I/O.
"""

from gateway.messages.accounts import Epoch, FormerEpoch, OutboxState, PendingSpan, Refusal, Tombstone, Watermark
from gateway.messages.clocks import ClockReading, ClockState, Stamp
from gateway.messages.cloud import CloudMessage, Command, CommandState, DeviceCommand, DeviceStatus
from gateway.messages.events import CommittedItem, Event, EventDraft, EventState, PendingEvent, Receipt
from gateway.messages.holding import (
    PRIORITY_DEFAULT,
    PRIORITY_HIGHEST,
    PRIORITY_LOWEST,
    OnChange,
    Summarise,
    SummaryMode,
)
from gateway.messages.results import (
    Classification,
    Kind,
    ModelIdentity,
    Prediction,
    Result,
    Summary,
    SummaryMoment,
    kind_of,
)
from gateway.messages.submissions import Delivery, IdReuse, Image, Reading, Readings, Submission, Transport, item_id

__all__ = [
    "PRIORITY_DEFAULT",
    "PRIORITY_HIGHEST",
    "PRIORITY_LOWEST",
    "Classification",
    "ClockReading",
    "ClockState",
    "CloudMessage",
    "Command",
    "CommandState",
    "CommittedItem",
    "Delivery",
    "DeviceCommand",
    "DeviceStatus",
    "Epoch",
    "Event",
    "EventDraft",
    "EventState",
    "FormerEpoch",
    "IdReuse",
    "Image",
    "Kind",
    "ModelIdentity",
    "OnChange",
    "OutboxState",
    "PendingEvent",
    "PendingSpan",
    "Prediction",
    "Reading",
    "Readings",
    "Receipt",
    "Refusal",
    "Result",
    "Stamp",
    "Submission",
    "Summarise",
    "Summary",
    "SummaryMode",
    "SummaryMoment",
    "Tombstone",
    "Transport",
    "Watermark",
    "item_id",
    "kind_of",
]
