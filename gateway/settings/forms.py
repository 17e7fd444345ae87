"""The written forms that settings take: listen addresses, URLs of proxies and brokers, ids, topic patterns.

Pure. Each ``check_*`` returns the text unchanged or raises a :class:`PydanticCustomError` of type ``setting``
whose context has ``text`` (what is wrong) and ``cure`` (a sentence with an example).
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic_core import PydanticCustomError

from gateway.settings.hours import SpanInvalid, parse_span
from gateway.settings.topic_patterns import PatternInvalid, parse_pattern
from gateway.web_targets import UrlInvalid, parse_url

GATEWAY_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")  # what IoT Hub allows in a device id, less what needs quoting

# Source: "Device Provisioning Service terms and concepts", registration ID.
_REGISTRATION_ID = re.compile(r"[A-Za-z0-9._:-]{0,127}[A-Za-z0-9-]")
_BRACKETED = re.compile(r"\[(?P<host>[^\]]*)\]:(?P<port>\d+)")
_HOST_PORT = re.compile(r"(?P<host>[^:\[\]/\s@]*):(?P<port>\d+)")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_INTERFACE = re.compile(r"[^/\s:]{1,15}")
_PROXY = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<user>[^:@/\s]+)(?::(?P<password>[^/\s]*))?@)?(?P<address>[^/\s@]+)/?"
)
_LISTEN_EXAMPLES = '"127.0.0.1:8080" for this machine alone, ":8080" for every network it is in, "[::1]:8080" for IPv6'
_BROKER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<address>[^/\s]*)/?")
_BROKER_CURE = 'Write it as "mqtt://broker.example", or with TLS "mqtts://broker.example:8883".'
_BROKER_PORTS = {"mqtt": 1883, "mqtts": 8883}  # registered with IANA as mqtt and secure-mqtt
_BLE_ADDRESS = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_BLE_ADAPTER = re.compile(r"hci\d{1,3}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_FIELD_PATH = re.compile(r"[^.\x00-\x1f]{1,64}(\.[^.\x00-\x1f]{1,64}){0,7}")
_PROXY_CURE = 'Write it as "http://proxy.example:3128", or "http://user:password@proxy.example:3128".'


@dataclass(frozen=True, slots=True)
class HostPort:
    """An address to listen on or connect to. An empty ``host`` is every interface; port 0 lets the system choose."""

    host: str
    port: int

    @property
    def is_every_interface(self) -> bool:
        return self.host in {"", "0.0.0.0", "::"}  # noqa: S104 -- recognised here, bound nowhere

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def meets(self, other: "HostPort") -> bool:
        """Return whether both can't be listened on at once."""
        if self.port != other.port or self.port == 0:
            return False
        same = self.host == other.host or (self.is_loopback and other.is_loopback)
        return same or self.is_every_interface or other.is_every_interface


def invalid(text: str, cure: str) -> PydanticCustomError:
    """Return the error that a form check raises."""
    return PydanticCustomError("setting", "{text}", {"text": text, "cure": cure})


def parse_listen(text: str) -> HostPort:
    """Return what a listen setting means. Raises PydanticCustomError (a ValueError) with the cure."""
    found = _BRACKETED.fullmatch(text) or _HOST_PORT.fullmatch(text)
    if found is None:
        raise invalid(_listen_fault(text), f"Write host:port: {_LISTEN_EXAMPLES}.")
    host, port = found["host"], int(found["port"])
    if port > 65535:
        raise invalid(
            f"port {port} does not exist", "Choose a port from 1 to 65535, or 0 to let the system choose one."
        )
    if not _is_host(host, bracketed=text.startswith("[")):
        raise invalid(f'"{host}" is no host name or address', f"Write host:port: {_LISTEN_EXAMPLES}.")
    return HostPort(host, port)


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """Where a broker is, and whether to speak TLS with it."""

    host: str
    port: int
    tls: bool


def check_listen(text: str) -> str:
    """Accept ``host:port``, ``[::1]:8080`` and ``:8080``."""
    parse_listen(text)
    return text


def check_listen_or_off(text: str) -> str:
    """Accept what :func:`check_listen` accepts, or nothing (off)."""
    return check_listen(text) if text else text


def _listen_fault(text: str) -> str:
    if "://" in text:
        return "is a URL, not an address to listen on"
    if text.isdigit():
        return "is a port without a host"
    if text.count(":") > 1 and "[" not in text:
        return "is an IPv6 address without brackets or without a port"
    if ":" not in text:
        return "has no port"
    return "is not host:port"


def _is_host(host: str, *, bracketed: bool) -> bool:
    if not bracketed:
        return not host or _HOST_NAME.fullmatch(host) is not None
    try:
        return ip_address(host.partition("%")[0]).version == 6
    except ValueError:
        return False


def check_host_name(text: str) -> str:
    """Accept a host's name or address, without a port."""
    try:
        ip_address(text)
    except ValueError:
        if not _HOST_NAME.fullmatch(text):
            raise invalid(
                f"{text!a} is no host name or address", 'Write it without a port: "gw.example", "10.0.0.5".'
            ) from None
    return text


def check_interface(text: str) -> str:
    """Accept the name of a network interface (Linux: 15 characters), or nothing."""
    if text and _INTERFACE.fullmatch(text) is None:
        raise invalid("is no network interface", 'Write it as `ip link` shows it, for example "eth1".')
    return text


def check_gateway_id(text: str) -> str:
    """Accept 1 to 128 characters of ``A-Z a-z 0-9 . _ : @ -``, or nothing (then the host's name is taken)."""
    if text and not GATEWAY_ID.fullmatch(text):
        raise invalid(
            "has characters or a length that no gateway id may have",
            'Use 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -, for example "greenhouse-3".',
        )
    return text


def check_registration_id(text: str) -> str:
    """Accept what the Device Provisioning Service takes as a registration id, or nothing."""
    if text and not _REGISTRATION_ID.fullmatch(text):
        raise invalid(
            "is not a registration id",
            'Use up to 128 of a-z A-Z 0-9 - . _ : with a letter, digit or dash at the end, for example "greenhouse-3".',
        )
    return text


def check_proxy(text: str) -> str:
    """Accept ``http://[user:password@]host:port``, or nothing. Faults never quote the text: it may hold a password."""
    if not text:
        return text
    found = _PROXY.fullmatch(text)
    if found is None:
        raise invalid("is not the URL of a proxy", _PROXY_CURE)
    if found["scheme"].lower() != "http":
        raise invalid("is not an http:// proxy; the tunnel itself is TLS to the hub", _PROXY_CURE)
    address = _BRACKETED.fullmatch(found["address"]) or _HOST_PORT.fullmatch(found["address"])
    if address is None or not address["host"] or not 0 < int(address["port"]) < 65536:
        raise invalid("has no host and port", _PROXY_CURE)
    return text


def check_broker_url(text: str) -> str:
    """Accept ``mqtt://host[:port]`` and ``mqtts://host[:port]``, or nothing (no broker)."""
    if text:
        parse_broker_url(text)
    return text


def parse_broker_url(text: str) -> BrokerUrl:
    """Return what a broker's URL means. Raises PydanticCustomError (a ValueError) with the cure."""
    found = _BROKER.fullmatch(text)
    if found is None or found["scheme"].lower() not in _BROKER_PORTS:
        raise invalid("is not the URL of an MQTT broker", _BROKER_CURE)
    if "@" in found["address"]:
        raise invalid("has a login in it", "Put it into mqtt.username and mqtt.password_file.")
    scheme = found["scheme"].lower()
    address = found["address"]
    if not re.search(r":\d+$", address) or address.endswith("]"):
        address = f"{address}:{_BROKER_PORTS[scheme]}"
    place = _BRACKETED.fullmatch(address) or _HOST_PORT.fullmatch(address)
    if place is None or not place["host"] or not _is_host(place["host"], bracketed=address.startswith("[")):
        raise invalid("has no usable host", _BROKER_CURE)
    if not 0 < int(place["port"]) < 65536:
        raise invalid(f"port {place['port']} does not exist", _BROKER_CURE)
    return BrokerUrl(place["host"], int(place["port"]), tls=scheme == "mqtts")


def check_topic_pattern(text: str) -> str:
    """Accept a topic pattern: ``devices/{device_id}/images``."""
    try:
        parse_pattern(text)
    except PatternInvalid as error:
        raise invalid(error.text, error.cure) from error
    return text


def check_level(text: str) -> str:
    """Accept what is one literal level of a topic, or nothing."""
    if text and re.search(r"[/+#\x00-\x1f\s]", text):
        raise invalid("is not one level of a topic", 'Use letters, digits and dashes, for example "gateways".')
    return text


def check_field_path_or_none(text: str) -> str:
    """Accept what :func:`check_field_path` accepts, or nothing (no such field)."""
    return check_field_path(text) if text else text


def check_field_path(text: str) -> str:
    """Accept a field's name, or names with dots between them: ``image``, ``data.jpg``."""
    if _FIELD_PATH.fullmatch(text) is None:
        raise invalid("names no field", 'Write its name, with dots to go deeper: "image", "data.jpg".')
    return text


def check_ble_address(text: str) -> str:
    """Accept a Bluetooth address, or nothing; return it in capitals, as BlueZ writes it."""
    if text and _BLE_ADDRESS.fullmatch(text) is None:
        raise invalid("is not a Bluetooth address", 'Write six pairs of hex digits: "AA:BB:CC:DD:EE:FF".')
    return text.upper()


def check_ble_adapter(text: str) -> str:
    """Accept the name of a Bluetooth adapter, or nothing."""
    if text and _BLE_ADAPTER.fullmatch(text) is None:
        raise invalid("is not a Bluetooth adapter", 'Write it as Linux names it, for example "hci0".')
    return text


def check_camera_url(text: str) -> str:
    """Accept ``http://`` and ``https://`` with a host and without a login, or nothing. ``{password}`` may be in it."""
    if text:
        try:
            parse_url(text.replace("{username}", "x").replace("{password}", "x"))
        except UrlInvalid as error:
            raise invalid(
                "is not the http or https URL of a camera, without a login before the host",
                'Write for example url = "http://192.168.1.20/snapshot.jpg", and username and password_file beside it.',
            ) from error
    return text


def check_login_name(text: str) -> str:
    """Accept what fits on one line."""
    if not text.isprintable():
        raise invalid("has characters that can't be seen", 'Write it as it is typed: username = "admin".')
    return text


def check_fingerprint(text: str) -> str:
    """Accept the SHA-256 fingerprint of a certificate, or nothing; return it as plain lower-case hex."""
    plain = text.strip().removeprefix("sha256:").replace(":", "").lower()
    if plain and _FINGERPRINT.fullmatch(plain) is None:
        raise invalid(
            "is not a SHA-256 fingerprint",
            "Write 64 hex digits, with or without colons: openssl x509 -noout -fingerprint -sha256 -in camera.pem.",
        )
    return plain


def check_quiet_hours(text: str) -> str:
    """Return ``text`` if it is a span of hours."""
    try:
        parse_span(text)
    except SpanInvalid as error:
        raise invalid(str(error), 'Write from and to as "22:00-06:00"; 24:00 is the end of a day.') from error
    return text


def check_timezone(text: str) -> str:
    """Return ``text`` if this system knows it as a time zone, or if it is empty."""
    if not text:
        return text
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise invalid(
            f"{text!a} is no time zone that this system knows",
            'Write an IANA name such as "Europe/Vienna" (Debian: apt-get install tzdata), or leave it empty.',
        ) from error
    return text
