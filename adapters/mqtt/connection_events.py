"""What one connection tells its I/O: values. Pure."""

from dataclasses import dataclass

from adapters.mqtt.codec_packets import Connect, Publish, Will
from adapters.mqtt.codec_reasons import ReasonCode


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """``window`` is how many publishes of one client may wait for their acknowledgement (MQTT 5: Receive Maximum)."""

    packet_bytes_max: int
    window: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a publish ended. Below 0x80 it is acknowledged as taken; MQTT 5 tells a refusal with ``reason``."""

    code: ReasonCode = ReasonCode.SUCCESS
    reason: str = ""


TAKEN = Verdict()


@dataclass(slots=True, eq=False)
class Ticket:
    """The place of one publish in the order of acknowledgements."""

    qos: int
    packet_id: int | None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectRequested:
    """A client wants in: answer with ``accept`` or ``refuse``."""

    connect: Connect


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishAnnounced:
    """A PUBLISH of ``frame_bytes`` begins: nothing more is read until ``grant``."""

    frame_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReceived:
    """A publish to be taken; ``settle`` its ticket. The grant of ``frame_bytes`` goes with it."""

    ticket: Ticket
    publish: Publish
    frame_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRepeated:
    """A redelivery that is answered already: its grant of ``frame_bytes`` is free again."""

    frame_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishTooLarge:
    """A publish above the limit; ``publish`` has no payload. ``settle`` its ticket.

    In 3.1.1 it was read and thrown away. In 5.0, where the limit was announced, the connection ends with it.
    """

    ticket: Ticket
    publish: Publish
    payload_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionsChanged:
    """The session's subscriptions are others now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDropped:
    """A message for the device can't be sent: it is larger than the device takes."""

    topic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEnded:
    """Nothing more will come. ``reason`` is a slug; ``will`` is what the client left to be told, if it is."""

    reason: str
    detail: str = ""
    will: Will | None = None


Event = (
    ConnectRequested
    | PublishAnnounced
    | PublishReceived
    | PublishRepeated
    | PublishTooLarge
    | SubscriptionsChanged
    | MessageDropped
    | ConnectionEnded
)
