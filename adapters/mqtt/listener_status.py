"""What the listener tells others about devices that come and go."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from adapters.mqtt.codec_packets import Will

State = Literal["online", "offline", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStatus:
    """``lost`` is a connection that ended without a DISCONNECT; ``will`` is what the device left to be told then.

    The will is reported here and nowhere else: the listener routes no messages between devices. A will delay of MQTT 5
    is not waited for.
    """

    client_id: str
    device_id: str | None
    state: State
    reason: str = ""
    will: Will | None = None


OnStatus = Callable[[ClientStatus], None]
