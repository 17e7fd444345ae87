"""Every setting: its key, type, bounds, default and the reason for it.

This is the one place for all of them: ``config/gateway.toml`` and ``config/gateway.schema.json`` are
generated from it (``python -m gateway.settings.generate``). Units stand last in a key. Values are frozen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr

from gateway.settings.ble_sections import BleDeviceSettings, BleSettings
from gateway.settings.camera_sections import CameraPullSettings, PulledCameraSettings
from gateway.settings.cloud_sections import CloudEdgeSettings, CloudProvisioningSettings, CloudSettings
from gateway.settings.forms import check_gateway_id, check_interface
from gateway.settings.http_alias import HttpAliasSettings
from gateway.settings.mqtt_sections import MqttChunksSettings, MqttSettings, MqttTopicsSettings
from gateway.settings.outbox_sections import OutboxSettings
from gateway.settings.policy_sections import PolicyRuleSettings, PolicySettings
from gateway.settings.problems import Problem
from gateway.settings.section import (
    ACCESS_TEXT,
    MIB,
    Access,
    EffectiveAccess,
    Listen,
    Network,
    Section,
    effective_access,
)
from gateway.settings.tls_section import (
    CLIENT_CERTIFICATES_TEXT,
    INTERFACE_TEXT,
    PLAIN_NETWORKS_TEXT,
    TLS_TEXT,
    ClientCertificates,
    TlsSettings,
)

__all__ = [
    "MIB",
    "BleDeviceSettings",
    "BleSettings",
    "CameraPullSettings",
    "CloudEdgeSettings",
    "CloudProvisioningSettings",
    "CloudSettings",
    "HttpAliasSettings",
    "MqttChunksSettings",
    "MqttSettings",
    "MqttTopicsSettings",
    "Network",
    "OutboxSettings",
    "PolicyRuleSettings",
    "PolicySettings",
    "PulledCameraSettings",
    "Section",
    "TlsSettings",
]

# Where the sites' own devices are: loopback, RFC 1918, RFC 3927 and their IPv6 likes (RFC 4193, RFC 4291).
PRIVATE_NETWORKS: tuple[Network, ...] = (
    IPv4Network("127.0.0.0/8"),
    IPv4Network("10.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv4Network("169.254.0.0/16"),
    IPv6Network("::1/128"),
    IPv6Network("fc00::/7"),
    IPv6Network("fe80::/10"),
)

# What an MQTT PUBLISH carries beside its payload: the topic, at most 64 KiB by its length field, and properties.
MQTT_HEAD_BYTES_MAX = 64 * 1024


class GatewaySettings(Section):
    """Who this gateway is, where its data lives, how it logs."""

    id: Annotated[str, AfterValidator(check_gateway_id)] = Field(
        default="",
        description="Names this gateway in every message to the cloud. 1 to 128 of A-Z a-z 0-9 . _ : @ -. "
        "Empty: the host's name.",
    )
    data_dir: Path = Field(
        default=Path("data"),
        description="Where the outbox and its lock live; made when absent. Unset: the first folder of $STATE_DIRECTORY "
        "(systemd sets it); with /etc/gateway-bridge/gateway.toml /var/lib/gateway-bridge, if it is there; else ./data "
        "where the gateway was started.",
    )
    log_format: Literal["auto", "human", "json"] = Field(
        default="auto", description="auto: human on a terminal, JSON lines otherwise (for journald, Docker, files)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="The least serious messages to log. debug tells each submission's steps, however many lines that "
        "are; otherwise lines of one kind are bounded.",
    )
    core_dumps: bool = Field(
        default=False,
        description="Whether a crash in native code may leave a core dump, and other programs of the same user may "
        "look into the process. Off: its memory holds pictures and the cloud's key. Root may look in any case.",
    )


class LimitsSettings(Section):
    """How much one process may take. Pixel cap, worker count, bytes in flight and queues derive from the budget."""

    memory_budget_mb: int = Field(
        default=300,
        ge=128,
        le=65536,
        description="MiB for the gateway's own process: the sum of everything that it may hold, not what it takes as a "
        "rule (110). Admits 12-megapixel photographs with four workers and 512 MQTT devices. Linux has some 420 of a "
        "512 MB board; 65 are its own, and 50 the cloud SDK's child process and our parent.",
    )
    image_bytes_max: int = Field(
        default=8 * MIB,
        ge=1024,
        le=256 * MIB,
        description="Bytes of one encoded picture. Phones send 5 to 6 MB; twice the Custom Vision container's 4 MiB.",
    )
    reading_bytes_max: int = Field(
        default=64 * 1024,
        ge=64,
        le=128 * 1024,
        description="Bytes of one submission of readings. Below half of IoT Hub's 256 KB, so that each fits a message.",
    )
    in_flight_max: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="Submissions being read or worked on. More waiting only adds latency: one core serves about 30 "
        "pictures a second. Beyond it devices get 503 and retry.",
    )
    submit_timeout_s: float = Field(
        default=30,
        gt=0,
        le=600,
        description="Seconds from a complete submission to its answer. Below the 60 s at which many clients give up.",
    )

    @property
    def mqtt_packet_bytes_max(self) -> int:
        """The largest MQTT packet to read: a largest picture (in whichever form) with its topic and properties."""
        return max(self.image_bytes_max, self.reading_bytes_max) + MQTT_HEAD_BYTES_MAX

    @property
    def mqtt_buffered_bytes_max(self) -> int:
        """Bytes of MQTT messages being received or held at the listener; beyond it the gateway stops reading.

        Twice the largest: one that is stuck half-way leaves room for another.
        """
        return 2 * self.mqtt_packet_bytes_max

    @property
    def mqtt_broker_buffered_bytes_max(self) -> int:
        """The same from the broker. Once the largest: what is stuck in one stream blocks what is behind it anyway."""
        return self.mqtt_packet_bytes_max

    @property
    def mqtt_held_bytes_max(self) -> int:
        """Bytes that all connections of the listener hold beside that: parts of packets, answers that nobody reads.

        Enough for 16 devices that read nothing at all, or for 80 that send the largest CONNECT at once. Others hold
        nothing.
        """
        return 4 * MIB

    @property
    def mqtt_waiting_bytes_max(self) -> int:
        """Bytes of results and commands that wait in all sessions of the listener: some four thousand results."""
        return 4 * MIB


class ModelSettings(Section):
    """Which model classifies the pictures."""

    path: Path = Field(
        default=Path("models/fruit"),
        description="A folder with model.tflite and labels.txt, a Custom Vision export's zip, or its app/ folder. "
        "Unset: the demo model that comes with the gateway.",
    )
    name: str = Field(
        default="", max_length=128, description="The model's name in every result. Empty: the folder's or zip's name."
    )
    runtime: Literal["auto", "litert", "tflite-runtime"] = Field(
        default="auto", description="auto prefers LiteRT, which runs quantised models ten times faster."
    )
    preprocessing: Literal["auto", "custom-vision", "metadata", "bundle"] = Field(
        default="auto",
        description="How a picture becomes the model's input. auto: bundle.toml beside the model, else TFLite "
        "metadata, else the custom-vision preset. What was chosen is said at start.",
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Interpreters, each with its own thread. 0: one per core within the memory budget.",
    )


class UrlFetchSettings(Section):
    """Pictures fetched by the gateway for a client (the /url routes). Off unless hosts are allowed."""

    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description='Hosts that may be fetched from, for example ["cam1.example"]. Empty: the /url routes are off.',
    )
    allowed_networks: tuple[Network, ...] = Field(
        default=(), description='Private ranges that allowed hosts may resolve to, for example ["192.168.10.0/24"].'
    )
    timeout_s: float = Field(default=10, gt=0, le=60, description="Seconds for one fetch; the client waits for it.")


class HttpSettings(Section):
    """The face towards devices that speak HTTP."""

    enabled: bool = Field(default=True, description="Whether to serve devices over HTTP.")
    listen: Listen = Field(
        default="127.0.0.1:8080",
        description='host:port. 127.0.0.1:8080 is this machine alone, ":8080" every network it is in, "[::1]:8080" '
        "IPv6; port 0 lets the system choose.",
    )
    access: Access = Field(default="auto", description=ACCESS_TEXT)
    allowed_networks: tuple[Network, ...] = Field(
        default=(),
        description='Clients that are served, for example ["127.0.0.0/8", "192.168.0.0/16"]. Empty: all that reach it.',
    )
    interface: Annotated[str, AfterValidator(check_interface)] = Field(default="", description=INTERFACE_TEXT)
    tls: bool = Field(default=False, description=TLS_TEXT)
    client_certificates: ClientCertificates = Field(default="off", description=CLIENT_CERTIFICATES_TEXT)
    plain_networks: tuple[Network, ...] = Field(default=(), description=PLAIN_NETWORKS_TEXT)
    header_timeout_s: float = Field(
        default=10,
        gt=0,
        le=300,
        description="Seconds for a request's head: a Wio Terminal on weak Wi-Fi needs some, a slowloris wants minutes.",
    )
    body_timeout_s: float = Field(
        default=30,
        gt=0,
        le=600,
        description="Seconds for a request's body: 8 MiB at 2.2 Mbit/s, or 100 kB at 27 kbit/s.",
    )
    idle_timeout_s: float = Field(
        default=75, gt=0, le=3600, description="Seconds that a kept connection may be silent between requests."
    )
    connections_max: int = Field(
        default=256, ge=1, le=100_000, description="Open connections. Each costs a file descriptor of the usual 1024."
    )
    alias: tuple[HttpAliasSettings, ...] = Field(
        default=(),
        max_length=64,
        description="Paths that devices have hard-wired, with the answers that they insist on: docs/PROTOCOLS.md.",
    )
    url_fetch: UrlFetchSettings = UrlFetchSettings()

    @property
    def effective_access(self) -> EffectiveAccess:
        """Who may send, ``auto`` decided."""
        return effective_access(self.access, self.listen)


class DevicesSettings(Section):
    """What devices are told, and what is told of them."""

    command_keep_s: float = Field(
        default=600,
        gt=0,
        le=2_592_000,
        description="Seconds that a command waits for its device. An order to take a photo now is wrong in an hour; a "
        "sensor that sleeps for 5 minutes still hears it.",
    )
    status_events: bool = Field(
        default=False,
        description="Whether a device that connects, leaves or is lost is an event for the cloud. Off: a device on "
        "weak Wi-Fi makes hundreds a day. A sensor that falls silent is one either way. `gateway devices list` tells "
        "all of it.",
    )


class AdminSettings(Section):
    """The face towards operators: /metrics, API docs, health detail. Apart from the devices' on purpose."""

    enabled: bool = Field(default=True, description="Whether to serve it.")
    listen: Listen = Field(
        default="127.0.0.1:8081", description="host:port, as http.listen. Loopback, because it has no authentication."
    )


class ClockSettings(Section):
    """When the machine's wall clock is believed: events say so, and quiet hours and daily budgets hang on it."""

    trust: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="auto: once the system says that it was synchronised (NTP), until it jumps. always: as it stands, "
        "for a site with a battery-backed clock and no time server. never: not at all. A time before this software was "
        "made is never believed.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where values came from (dotted key → place; absent: the default), and what is unwise though not wrong."""

    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    warnings: tuple[Problem, ...] = ()


class Settings(Section):
    """All settings of one gateway: whole, checked, frozen. :func:`gateway.settings.load_settings` makes it."""

    gateway: GatewaySettings = GatewaySettings()
    limits: LimitsSettings = LimitsSettings()
    model: ModelSettings = ModelSettings()
    tls: TlsSettings = TlsSettings()
    http: HttpSettings = HttpSettings()
    mqtt: MqttSettings = MqttSettings()
    ble: BleSettings = BleSettings()
    camera_pull: CameraPullSettings = CameraPullSettings()
    devices: DevicesSettings = DevicesSettings()
    admin: AdminSettings = AdminSettings()
    clock: ClockSettings = ClockSettings()
    policy: PolicySettings = PolicySettings()
    outbox: OutboxSettings = OutboxSettings()
    cloud: CloudSettings = CloudSettings()

    _provenance: Provenance = PrivateAttr(default_factory=Provenance)

    @property
    def provenance(self) -> Provenance:
        return self._provenance

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What the operator should know though it stops nothing, for example a secret that others can read."""
        return self._provenance.warnings

    def with_provenance(self, provenance: Provenance) -> "Settings":
        """Return the same values, saying where they came from."""
        copy = self.model_copy()
        copy._provenance = provenance  # noqa: SLF001 -- our own class's
        return copy
