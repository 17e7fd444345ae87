"""What accounts for the events: epochs, tombstones, refusals and the figures of the outbox."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gateway.messages.submissions import Transport


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
class PendingSpan:
    """The lowest and the highest key that is pending under one priority."""

    priority: int
    first_key: int
    last_key: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """How far the accepted sequences go: what each message to the cloud says of the outbox that it is of."""

    epoch: Epoch
    sequence_high: int
    former: tuple[FormerEpoch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """Figures of the outbox at one moment.

    ``delivered`` and ``held_back`` count what is still in the file; the totals count since the epoch began, and
    ``sequence_high`` (accepted) + ``taken_over`` is always pending + dead + the totals. ``taken_over``: events of
    former epochs that the file began with, pending or dead.
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
    taken_over: int = 0
    former: tuple[FormerEpoch, ...] = ()

    @property
    def rows(self) -> int:
        """Events of every state that are in the file."""
        return self.pending + self.delivered + self.held_back + self.dead

    @property
    def watermark(self) -> Watermark:
        """How far the accepted sequences go."""
        return Watermark(epoch=self.epoch, sequence_high=self.sequence_high, former=self.former)
