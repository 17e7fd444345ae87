"""Is there a radio, and somebody to ask for it? By files and sockets alone: the Bluetooth stack is the adapter's."""

import socket
from collections.abc import Mapping
from pathlib import Path

from gateway.doctor.finding import Finding, fail, ok

SYSTEM_BUS = Path("/run/dbus/system_bus_socket")
RADIOS = Path("/sys/class/bluetooth")
SWITCHES = Path("/sys/class/rfkill")
CONNECT_TIMEOUT_S = 2.0
_CHECK = "bluetooth"


def bus_path(environment: Mapping[str, str]) -> Path:
    """Return the system bus's socket: $DBUS_SYSTEM_BUS_ADDRESS where it names a path."""
    for address in environment.get("DBUS_SYSTEM_BUS_ADDRESS", "").split(";"):
        if address.startswith("unix:path="):
            return Path(address.removeprefix("unix:path=").partition(",")[0])
    return SYSTEM_BUS


def examine_bluetooth(*, bus: Path, radios: Path = RADIOS, switches: Path = SWITCHES) -> Finding:
    """Return whether BLE can be used at all."""
    try:
        _connect(bus)
    except OSError as error:
        cure = "install and start dbus and bluez: apt-get install bluez; in a container mount /run/dbus"
        return fail(_CHECK, f"no D-Bus at {bus} ({error.strerror or error})", cure)
    found = sorted(path.name for path in radios.iterdir() if ":" not in path.name) if radios.is_dir() else []
    if not found:
        cure = "plug a radio in, or enable it in the firmware; in a container share the host's: see docs/OPERATIONS.md"
        return fail(_CHECK, "D-Bus answers, but there is no radio", cure)
    if blocked := _blocked(switches):
        return fail(_CHECK, f"{', '.join(found)}, switched off ({blocked})", "rfkill unblock bluetooth")
    return ok(_CHECK, f"D-Bus answers; {', '.join(found)}")


def _connect(bus: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(CONNECT_TIMEOUT_S)
        client.connect(str(bus))


def _blocked(switches: Path) -> str:
    """Return how Bluetooth is blocked, by rfkill's files; empty if it isn't."""
    for switch in sorted(switches.iterdir()) if switches.is_dir() else ():
        if _text(switch / "type") == "bluetooth":
            kinds = [kind for kind in ("soft", "hard") if _text(switch / kind) == "1"]
            if kinds:
                return f"rfkill: {' and '.join(kinds)} block"
    return ""


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""
