"""What the listener tells others about devices that come and go."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from adapters.mqtt.codec_packets import Will
from gateway.identifiers import DEVICE_ID
from gateway.messages import DeviceStatus, Transport
from gateway.ports import StatusSink

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

# Of a last will: a word or a small JSON object. Longer ones are cut.
WILL_CHARS_MAX = 300


def reporting_to(sink: StatusSink) -> OnStatus:
    """Return what tells ``sink``. Without a login the client id names the device, where it could be a device id."""

    def on_status(status: ClientStatus) -> None:
        device_id = status.device_id or status.client_id
        if DEVICE_ID.fullmatch(device_id) is not None:
            sink.note(
                DeviceStatus(device_id=device_id, transport=Transport.MQTT, state=status.state, detail=_detail(status))
            )

    return on_status


def _detail(status: ClientStatus) -> str:
    if status.will is None:
        return status.reason
    will = bytes(status.will.payload[: 4 * WILL_CHARS_MAX]).decode("utf-8", "replace")[:WILL_CHARS_MAX]
    return f"{status.reason}; its will: {will}"
