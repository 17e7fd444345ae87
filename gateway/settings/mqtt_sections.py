"""The settings of MQTT: ``[mqtt]``, ``[mqtt.topics]``, ``[mqtt.chunks]``.

There is no relation between ``in_flight_max``, the time of a submission and ``keepalive_s``: no thread that answers
pings ever waits for a commit, so a slow one can't let a connection die.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from gateway.settings.forms import (
    check_broker_url,
    check_field_path,
    check_field_path_or_none,
    check_gateway_id,
    check_interface,
    check_level,
    check_topic_pattern,
)
from gateway.settings.section import (
    ACCESS_TEXT,
    MIB,
    WRITE_ONLY,
    Access,
    EffectiveAccess,
    ListenOrOff,
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
)

Topics = tuple[Annotated[str, AfterValidator(check_topic_pattern)], ...]
FieldPath = Annotated[str, AfterValidator(check_field_path)]
FieldPathOrNone = Annotated[str, AfterValidator(check_field_path_or_none)]


class MqttTopicsSettings(Section):
    """Which topic carries what. {device_id} says who sent, {submission_id} under which id; + is any one level."""

    images: Topics = Field(
        default=("devices/{device_id}/images", "devices/{device_id}/images/{submission_id}"),
        description="One picture a message: its bytes, base64 or hex of them, a data URL, or JSON with a field that "
        "holds base64 or a data URL.",
    )
    readings: Topics = Field(
        default=("devices/{device_id}/readings", "devices/{device_id}/readings/{submission_id}"),
        description="Readings: a JSON object of values, or an array of such objects.",
    )
    chunks: Topics = Field(
        default=("devices/{device_id}/chunks",),
        description="Pieces of one picture, for modems with small buffers; their form is in docs/PROTOCOLS.md.",
    )


class MqttChunksSettings(Section):
    """Pictures that come in pieces: how much of unfinished ones is held in memory."""

    timeout_s: float = Field(
        default=120,
        gt=0,
        le=86_400,
        description="Seconds after a picture's last piece at which an unfinished one is dropped and the device told.",
    )
    partial_bytes_max: int = Field(
        default=4 * MIB,
        ge=64 * 1024,
        le=256 * MIB,
        description="Bytes of all unfinished pictures, and so of one. Modems send 20 to 200 kB: room for forty of 100 "
        "kB. Beyond it the picture that waited longest is dropped and its device told.",
    )
    partials_max: int = Field(
        default=256, ge=1, le=100_000, description="Unfinished pictures at once. One for each device is usual."
    )


class MqttSettings(Section):
    """Devices that speak MQTT: at a listener of our own (listen), through a broker (url), or both."""

    listen: ListenOrOff = Field(
        default="127.0.0.1:1883",
        description="host:port for devices that connect to the gateway itself, as http.listen. Empty: off. While "
        "the port is busy (a broker on this machine?) the gateway runs on without it, says so and tries again.",
    )
    allowed_networks: tuple[Network, ...] = Field(
        default=(), description="Clients of the listener that are served, as http.allowed_networks. Empty: all."
    )
    access: Access = Field(default="auto", description=f"At the listener. {ACCESS_TEXT}")
    listen_credentials_file: Path | None = Field(
        default=None,
        description="Who may log in at the listener, as mosquitto_passwd writes it (one username:$7$... a line). The "
        "username is the device id: a device may then use its own topics only. Unset: mqtt.access decides.",
    )
    listen_interface: Annotated[str, AfterValidator(check_interface)] = Field(
        default="", description=f"At the listener. {INTERFACE_TEXT}"
    )
    listen_tls: bool = Field(default=False, description=f"At the listener. {TLS_TEXT} Port 8883 is usual.")
    listen_client_certificates: ClientCertificates = Field(
        default="off", description=f"At the listener. {CLIENT_CERTIFICATES_TEXT}"
    )
    listen_plain_networks: tuple[Network, ...] = Field(
        default=(), description=f"At the listener. {PLAIN_NETWORKS_TEXT}"
    )
    listen_certificate_file: Path | None = Field(
        default=None,
        description="A certificate chain of the listener's own, PEM, instead of that of [tls]; it turns TLS on.",
    )
    listen_key_file: Path | None = Field(
        default=None, description="Its private key, PEM, not encrypted; readable by the gateway's user only."
    )
    connections_max: int = Field(
        default=512,
        ge=1,
        le=100_000,
        description="Open connections of the listener. With those of HTTP below the usual 1024 open files; for more "
        "the gateway raises that limit as far as the system lets it. An idle one costs 5 KiB.",
    )
    sessions_max: int = Field(
        default=2048,
        ge=1,
        le=1_000_000,
        description="Sessions that the listener keeps for devices, connected or away; those longest away go first.",
    )
    queued_replies_max: int = Field(
        default=16,
        ge=1,
        le=1000,
        description="Results and commands that wait in one session of the listener; the oldest go first.",
    )
    url: Annotated[str, AfterValidator(check_broker_url)] = Field(
        default="",
        description="The broker that the site already has: mqtt://host, mqtts://host (TLS), with :port unless it is "
        "1883 or 8883. Empty: none.",
    )
    client_id: Annotated[str, AfterValidator(check_gateway_id)] = Field(
        default="", description="Our name at the broker, which keeps our session under it. Empty: the gateway's id."
    )
    share_group: Annotated[str, AfterValidator(check_level)] = Field(
        default="",
        description="Gateways with the same group share the broker's messages ($share/group/...). Empty: not shared.",
    )
    username: str = Field(default="", max_length=256, description="Our login at the broker. Empty: none.")
    password: str = Field(
        default="",
        max_length=1024,
        description="Its password. Secret: better password_file.",
        repr=False,
        json_schema_extra=WRITE_ONLY,
    )
    password_file: Path | None = Field(
        default=None,
        description="A file that holds the password and nothing else; readable by the gateway's user only.",
    )
    ca_file: Path | None = Field(
        default=None, description="PEM of the authority that signed the broker's certificate. Unset: the system's."
    )
    certificate_file: Path | None = Field(
        default=None, description="Our certificate chain for a broker that asks for one, PEM."
    )
    key_file: Path | None = Field(default=None, description="Its private key, PEM, not encrypted.")
    keepalive_s: int = Field(
        default=30,
        ge=5,
        le=3600,
        description="Seconds between pings to the broker. A dead link is seen after one and a half times that.",
    )
    connect_timeout_s: float = Field(
        default=10,
        gt=0,
        le=300,
        description="Seconds for the broker to accept us, and for a device at the listener to send its CONNECT.",
    )
    in_flight_max: int = Field(
        default=32,
        ge=1,
        le=10_000,
        description="Messages being worked on, in each of the two ways. Half of limits.in_flight_max leaves HTTP its "
        "share; what is above limits.in_flight_max only waits.",
    )
    hold_max_s: float = Field(
        default=60,
        gt=0,
        le=3600,
        description="Seconds that a message is held, unacknowledged, while the gateway can't take it (outbox full, "
        "busy). Then the connection is dropped, and the sender sends again.",
    )
    image_field: FieldPath = Field(
        default="image",
        description='Where JSON on an images topic holds the picture (base64 or data URL); dots go deeper: "data.jpg".',
    )
    id_field: FieldPathOrNone = Field(
        default="id",
        description="Where JSON on an images topic holds the device's own id of the picture. Empty: nowhere.",
    )
    captured_at_field: FieldPathOrNone = Field(
        default="captured_at",
        description="Where JSON on an images topic holds the time of the picture (RFC 3339, with offset). Empty: none.",
    )
    topics: MqttTopicsSettings = MqttTopicsSettings()
    chunks: MqttChunksSettings = MqttChunksSettings()

    @property
    def uses_tls(self) -> bool:
        """Whether devices speak TLS at the listener."""
        return self.listen_tls or self.listen_certificate_file is not None

    @property
    def effective_access(self) -> EffectiveAccess:
        """Who may send at the listener, ``auto`` decided. A file of passwords is there to be asked."""
        if self.listen_credentials_file is not None:
            return "authenticated"
        return effective_access(self.access, self.listen) if self.listen else "open"
