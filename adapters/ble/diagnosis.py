"""What is wrong with the radio, in one line with its cure. Knows the errors of D-Bus and BlueZ by their text."""

from gateway.errors import GatewayError

NO_BUS = "no_dbus"
DENIED = "no_permission"
NO_BLUEZ = "no_bluetoothd"
NO_ADAPTER = "no_adapter"
POWERED_OFF = "powered_off"
BUSY = "in_progress"
TIMED_OUT = "timeout"
OTHER = "bluetooth_error"

# Text of an error → reason; the first that is found counts. The texts are those of dbus-fast, the D-Bus
# specification, BlueZ (src/error.c) and bleak (backends/bluezdbus/manager.py).
_BY_TEXT = (
    ("AuthError", DENIED),
    ("AccessDenied", DENIED),
    ("DENIED_BY", DENIED),
    ("Permission denied", DENIED),
    ("ServiceUnknown", NO_BLUEZ),
    ("NameHasNoOwner", NO_BLUEZ),
    ("Spawn.", NO_BLUEZ),
    ("No Bluetooth adapters", NO_ADAPTER),
    ("adapter '", NO_ADAPTER),
    ("No powered Bluetooth", POWERED_OFF),
    ("NotReady", POWERED_OFF),
    ("Not Ready", POWERED_OFF),
    ("InProgress", BUSY),
)

_TOLD = {
    NO_BUS: "there is no D-Bus system bus. Install BlueZ (Debian: apt-get install bluez) and start it; in a container "
    "mount the host's bus: -v /run/dbus:/run/dbus",
    DENIED: "the D-Bus system bus refuses us. Add the gateway's user to the group bluetooth (usermod -aG bluetooth "
    "USER) and start it again; in a container with its own user ids run it as root or with the host's ids",
    NO_BLUEZ: "bluetoothd does not run. Start it: systemctl enable --now bluetooth",
    NO_ADAPTER: "there is no Bluetooth adapter that can be used. Plug one in, or set ble.adapter to one that "
    "bluetoothctl list shows; ble.enabled = false ends this message",
    POWERED_OFF: "the Bluetooth adapter is switched off. Switch it on: rfkill unblock bluetooth; bluetoothctl power on",
    BUSY: "another program keeps the Bluetooth adapter busy, or it is stuck. End other scanners, or restart bluetoothd",
    TIMED_OUT: "bluetoothd does not answer. Restart it: systemctl restart bluetooth",
    OTHER: "Bluetooth fails. See the log of bluetoothd: journalctl -u bluetooth",
}

# Troubles that no new scan mends: somebody must do something, or the thing must come back.
ABSENT = frozenset({NO_BUS, DENIED, NO_BLUEZ, NO_ADAPTER, POWERED_OFF})


class RadioError(GatewayError):
    """Something at or below bleak failed. ``reason`` is a slug for logs and metrics."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def reason_of(error: BaseException) -> str:
    """Return the slug for an error of bleak, of dbus-fast or of the system."""
    text = f"{type(error).__name__} {error} {getattr(error, 'reason', '')}"
    for part, reason in _BY_TEXT:
        if part in text:
            return reason
    if isinstance(error, FileNotFoundError | ConnectionError | EOFError):
        return NO_BUS
    return TIMED_OUT if isinstance(error, TimeoutError) else OTHER


def told(error: RadioError) -> str:
    """Return one line for the operator: what is wrong, the cure, and what was said."""
    return f"Bluetooth: {_TOLD[error.reason]} ({error.detail})"
