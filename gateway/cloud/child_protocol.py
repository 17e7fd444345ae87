"""What the gateway and its SDK process say to each other: values, and their form as frames. Pure, stdlib only.

One session at a time, numbered by the gateway; what speaks of another session is stale and ignored. Within a session
sends are numbered. The order::

    child   Hello                          the SDK is imported
    parent  Open → child Opened | OpenFailed
    parent  Send → child Acknowledged | NotSent        any number, any order of answers
    child   Lost                           once, when the session has ended by itself
    parent  Close → child Closed           also after Lost; not after OpenFailed
    child   CommandArrived                 at any time in a session
    parent  Ping → child Pong              at any time: answered by the loop that runs the SDK
    parent  Provision → child Provisioned | ProvisioningFailed     before Open; after a failure the process is replaced
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.cloud.framing import BrokenStream, Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Connect with a fresh client object. Holds secrets: they travel in this frame and nowhere else."""

    session: int
    hostname: str
    device_id: str
    connection_string: str = field(default="", repr=False)  # empty: X.509, or a module
    module_environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # not empty: an IoT Edge module
    certificate_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    websockets: bool
    proxy_host: str = ""
    proxy_port: int = 0
    proxy_user: str = ""
    proxy_password: str = field(default="", repr=False)
    keep_alive_s: int
    takes_commands: bool = True
    token_ttl_s: int
    session_age_max_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """Ask the Device Provisioning Service which hub we belong to. Holds secrets, as Open does."""

    host: str
    id_scope: str
    registration_id: str
    symmetric_key: str = field(default="", repr=False)  # empty: X.509
    certificate_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    websockets: bool
    proxy_host: str = ""
    proxy_port: int = 0
    proxy_user: str = ""
    proxy_password: str = field(default="", repr=False)
    keep_alive_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    session: int
    number: int
    message_id: str
    properties: Mapping[str, str]
    content_type: str
    content_encoding: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    hub: str
    device_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisioningFailed:
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFailed:
    """``clean``: the client object is gone for good. If not, the process must be replaced."""

    session: int
    reason: str
    detail: str
    clean: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    session: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """``refused``: this message can never be sent. If not, it may or may not have arrived."""

    session: int
    number: int
    reason: str
    detail: str
    refused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    session: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    session: int
    clean: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandArrived:
    """A cloud-to-device message. The SDK's MQTT library has acknowledged it to the hub before we see it."""

    message_id: str  # empty if the hub gave none
    properties: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    pass


ToChild = Provision | Open | Send | Close | Ping
FromChild = (
    Hello
    | Provisioned
    | ProvisioningFailed
    | Opened
    | OpenFailed
    | Acknowledged
    | NotSent
    | Lost
    | Closed
    | CommandArrived
    | Pong
)

_TYPES: dict[str, type[ToChild | FromChild]] = {
    kind.__name__: kind
    for kind in (
        *(Provision, Open, Send, Close, Ping),
        *(Hello, Provisioned, ProvisioningFailed),
        *(Opened, OpenFailed, Acknowledged, NotSent, Lost, Closed, CommandArrived, Pong),
    )
}


def to_frame(message: ToChild | FromChild) -> Frame:
    """Return the frame of a message; a field named ``body`` travels raw."""
    if isinstance(message, Send):
        return Frame(header={"type": "Send", **_fields_of_send(message)}, body=message.body)
    if isinstance(message, Acknowledged):
        return Frame(header={"type": "Acknowledged", "session": message.session, "number": message.number})
    fields = asdict(message)
    body = fields.pop("body", b"")
    return Frame(header={"type": type(message).__name__, **fields}, body=body)


def from_frame(frame: Frame) -> ToChild | FromChild:
    """Return the message of a frame. Raises BrokenStream for what is not one."""
    fields = dict(frame.header)
    kind = _TYPES.get(fields.pop("type", ""))
    if kind is None:
        raise BrokenStream("a frame of an unknown type")
    if kind in (Send, CommandArrived):
        fields["body"] = frame.body
    try:
        return kind(**fields)
    except TypeError as error:
        raise BrokenStream(f"a {kind.__name__} with other fields than ours") from error


def _fields_of_send(message: Send) -> dict[str, Any]:
    # asdict copies deeply; this one is on the path of every message, as Acknowledged is.
    return {
        "session": message.session,
        "number": message.number,
        "message_id": message.message_id,
        "properties": dict(message.properties),
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
    }
