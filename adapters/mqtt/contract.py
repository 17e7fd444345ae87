"""What the two ways of MQTT (broker client, built-in listener) share with the ingest. Pure values.

The acknowledgement rule lives here as types: an ``Inbound`` publish ends in one
of three outcomes, and only the transport decides how each is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.errors import Rejected
from gateway.messages import Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One PUBLISH from a device. ``packet_id`` is None at QoS 0; ``user_properties`` are MQTT 5's, else empty.

    ``session`` tells one life of a session from the next (a clean start makes a new one): packet ids repeat across.
    ``device_id`` is the authenticated identity where there is one; it overrides what topic or payload claim.
    """

    client_id: str
    session: str
    topic: str
    payload: bytes
    qos: int
    dup: bool = False
    retain: bool = False
    packet_id: int | None = None
    user_properties: Mapping[str, str] = field(default_factory=dict)
    device_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Acknowledge. ``receipt`` is None for a chunk whose picture is not complete yet."""

    device_id: str
    receipt: Receipt | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Acknowledge as refused (v5: reason code 0x99): sending it again can't help."""

    device_id: str | None
    reason: str
    detail: str
    cure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """Do not acknowledge: hold it and try again after ``retry_after_s``, bounded."""

    reason: str
    detail: str
    retry_after_s: float


Outcome = Accepted | Refused | Later


class Ingest(Protocol):
    """Turns a PUBLISH into a submission and waits for the commit."""

    async def take(self, inbound: Inbound) -> Outcome:
        """Return when the outcome is decided: Accepted with a receipt means on disk. Never raises for bad input."""

    async def refuse(self, inbound: Inbound, error: Rejected, *, payload_bytes: int) -> Refused:
        """Return when a refusal that the transport itself makes is noted, under the device that login or topic name.

        ``inbound`` has no payload: it was ``payload_bytes`` long and not kept.
        """

    def reply(self, inbound: Inbound, outcome: Outcome) -> tuple[str, bytes] | None:
        """Return (topic, JSON payload) of the result to publish to the device, or None when there is nobody to tell."""

    def notices(self) -> Sequence[tuple[str, bytes]]:
        """Return (topic, JSON payload) of what devices must hear unasked: that a picture in chunks was dropped.

        To be called every second or so, and published like replies.
        """
