"""The packets of MQTT 3.1.1 and 5.0 as values. Pure.

One set for both: what 3.1.1 does not know (properties, most reason codes) is empty there. ``code`` is a reason code
of MQTT 5, or a CONNACK return code of 3.1.1; it stays a number, since a peer may send one that we don't know.
"""

from dataclasses import dataclass

from adapters.mqtt.codec_properties import NO_PROPERTIES, Properties

V3_1_1 = 4
V5 = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What to tell others when the client is lost."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """``clean_start`` is 3.1.1's clean session; ``version`` is 4 (3.1.1) or 5."""

    version: int
    client_id: str
    clean_start: bool
    keep_alive_s: int
    username: str | None = None
    password: bytes | None = None
    will: Will | None = None
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Connack:
    code: int
    session_present: bool = False
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """``packet_id`` is None at QoS 0 and only there."""

    topic: str
    payload: bytes
    qos: int = 0
    dup: bool = False
    retain: bool = False
    packet_id: int | None = None
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """What PUBACK, PUBREC, PUBREL and PUBCOMP have in common."""

    packet_id: int
    code: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Puback(Acknowledgement):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pubrec(Acknowledgement):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pubrel(Acknowledgement):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pubcomp(Acknowledgement):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One filter of a SUBSCRIBE; the last three are MQTT 5's."""

    topic_filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Suback:
    packet_id: int
    codes: tuple[int, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    packet_id: int
    topic_filters: tuple[str, ...]
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsuback:
    """``codes`` is empty in 3.1.1, which has none."""

    packet_id: int
    codes: tuple[int, ...] = ()
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Pingreq:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pingresp:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect:
    code: int = 0
    properties: Properties = NO_PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """MQTT 5 only."""

    code: int = 0
    properties: Properties = NO_PROPERTIES


Packet = (
    Connect
    | Connack
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Auth
)
