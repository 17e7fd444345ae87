"""Device connection strings, parsed once. Pure. No error text or repr ever holds the key.

Source of the form: "Understand IoT Hub device connection strings"; the checks are those of azure-iot-device 2.14.0's
``common/auth/connection_string.py``, with texts that say what to do.
"""

import base64
import binascii
from dataclasses import dataclass, field

_KNOWN = ("HostName", "DeviceId", "ModuleId", "SharedAccessKey", "GatewayHostName", "SharedAccessKeyName", "x509")
_EXAMPLE = "HostName=<hub>.azure-devices.net;DeviceId=<device>;SharedAccessKey=<key>"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionString:
    """A device's (or module's) connection string with a symmetric key. ``text`` is the whole of it."""

    hostname: str
    device_id: str
    module_id: str = ""
    gateway_hostname: str = ""
    shared_access_key: str = field(repr=False)
    text: str = field(repr=False)


def parse_connection_string(text: str) -> ConnectionString:
    """Return the parts of a connection string. Raises ValueError that says what is wrong and what to put there."""
    parts = _split(text.strip().strip('"'))
    _check_kind(parts)
    if missing := [name for name in ("HostName", "DeviceId", "SharedAccessKey") if not parts.get(name)]:
        raise ValueError(f"it has no {' and no '.join(missing)}; the form is {_EXAMPLE}")
    _check_key(parts["SharedAccessKey"])
    return ConnectionString(
        hostname=parts["HostName"],
        device_id=parts["DeviceId"],
        module_id=parts.get("ModuleId", ""),
        gateway_hostname=parts.get("GatewayHostName", ""),
        shared_access_key=parts["SharedAccessKey"],
        text=";".join(f"{name}={value}" for name, value in parts.items()),
    )


def _split(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for position, pair in enumerate(filter(None, text.split(";")), start=1):
        name, equals, value = pair.partition("=")
        if not equals or name not in _KNOWN:
            # Not the piece itself: it may be a key that lost its name.
            raise ValueError(f"piece {position} is not one of {', '.join(_KNOWN)}; the form is {_EXAMPLE}")
        if name in parts:
            raise ValueError(f"it has {name} twice")
        parts[name] = value.strip()
    if not parts:
        raise ValueError(f"it is empty; the form is {_EXAMPLE}")
    return parts


def _check_kind(parts: dict[str, str]) -> None:
    if "x509" in parts:
        raise ValueError(
            "it is for X.509: set cloud.hostname, cloud.device_id, cloud.certificate_file and cloud.key_file instead"
        )
    if "SharedAccessKeyName" in parts:
        raise ValueError(
            "it is the hub's own (with SharedAccessKeyName): take the device's, from the device's page or from "
            "`az iot hub device-identity connection-string show`"
        )


def _check_key(key: str) -> None:
    try:
        decoded = base64.b64decode(key, validate=True)
    except binascii.Error as error:
        raise ValueError("its SharedAccessKey is not base64: was it cut when it was copied?") from error
    if not decoded:
        raise ValueError("its SharedAccessKey is empty")
