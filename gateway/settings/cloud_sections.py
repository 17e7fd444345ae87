"""Settings of the way to the cloud: who the gateway is to the hub, how it connects, what it may spend.

There are four ways to be somebody to the hub, one at a time: a connection string, an X.509 certificate, the Device
Provisioning Service, and being a module of Azure IoT Edge, whose runtime says who we are in the environment.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway.settings.forms import check_proxy, check_quiet_hours, check_registration_id, check_timezone
from gateway.settings.section import WRITE_ONLY, Section

IdentitySource = Literal["connection_string", "x509", "provisioning", "edge", "none"]


class CloudProvisioningSettings(Section):
    """Azure Device Provisioning Service (DPS): asked once which hub this gateway belongs to.

    The answer is kept in gateway.data_dir. Keys stay in files that only the gateway's user can read; others are
    refused. `gateway provision` goes through it step by step.
    """

    id_scope: str = Field(
        default="", max_length=64, description="The DPS instance, from its page in the portal: 0ne000A1B2C."
    )
    registration_id: Annotated[str, AfterValidator(check_registration_id)] = Field(
        default="",
        description="This gateway's name at the DPS, and as a rule its device id. Up to 128 of a-z A-Z 0-9 - . _ : and "
        "with X.509 the certificate's common name. Empty: gateway.id is not used, it must be said.",
    )
    key_file: Path | None = Field(
        default=None,
        description="Symmetric key of an individual enrolment, or of this one device derived from a group's (`gateway "
        "provision derive-key`): base64, one line.",
    )
    group_key_file: Path | None = Field(
        default=None,
        description="Symmetric key of an enrolment group; this device's is derived from it at each use. Whoever steals "
        "it can pose as any device of the group: key_file with a derived key is better.",
    )
    certificate_file: Path | None = Field(
        default=None, description="X.509: this device's certificate, with its chain for a group, PEM."
    )
    certificate_key_file: Path | None = Field(
        default=None, description="X.509: the certificate's private key, PEM, not encrypted."
    )
    host: str = Field(
        default="global.azure-devices-provisioning.net",
        max_length=253,
        description="Where the DPS is. Another for sovereign clouds, for example global.azure-devices-provisioning.cn.",
    )


class CloudEdgeSettings(Section):
    """What Azure IoT Edge tells its modules. Its runtime sets all of these in the environment: nothing to write here.

    Used when no other identity is given. The last two are its fallback for development without a runtime.
    """

    hub_hostname: str = Field(default="", description="The IoT hub: $IOTEDGE_IOTHUBHOSTNAME.")
    gateway_hostname: str = Field(default="", description="Where edgeHub is: $IOTEDGE_GATEWAYHOSTNAME.")
    device_id: str = Field(default="", description="The IoT Edge device: $IOTEDGE_DEVICEID.")
    module_id: str = Field(default="", description="This module: $IOTEDGE_MODULEID.")
    generation_id: str = Field(default="", description="Which life of the module: $IOTEDGE_MODULEGENERATIONID.")
    workload_uri: str = Field(
        default="", description="The Unix socket that signs for this module: $IOTEDGE_WORKLOADURI."
    )
    api_version: str = Field(default="", description="How to speak to that socket: $IOTEDGE_APIVERSION.")
    auth_scheme: Literal["sasToken"] = Field(
        default="sasToken", description="How modules prove who they are: $IOTEDGE_AUTHSCHEME."
    )
    connection_string: str = Field(
        default="",
        description="Without a workload socket: $EdgeHubConnectionString, with GatewayHostName. Secret.",
        repr=False,
        json_schema_extra=WRITE_ONLY,
    )
    ca_file: Path | None = Field(
        default=None, description="Without a workload socket: $EdgeModuleCACertificateFile, PEM of edgeHub's authority."
    )

    @property
    def uses_workload_api(self) -> bool:
        """Whether the runtime's socket signs for us."""
        return bool(
            self.hub_hostname
            and self.gateway_hostname
            and self.device_id
            and self.module_id
            and self.generation_id
            and self.workload_uri
            and self.api_version
        )

    @property
    def configured(self) -> bool:
        """Whether we are a module."""
        return self.uses_workload_api or bool(self.connection_string and self.ca_file)


class CloudSettings(Section):
    """Azure IoT Hub. Nothing set: the gateway buffers.

    One way to be known to the hub: a connection string, X.509 with four keys, [cloud.provisioning], or what the
    runtime of Azure IoT Edge says.
    """

    connection_string: str = Field(
        default="",
        description="A device's connection string: HostName=...;DeviceId=...;SharedAccessKey=.... Secret: better "
        "$IOTHUB_DEVICE_CONNECTION_STRING, or connection_string_file.",
        repr=False,
        json_schema_extra=WRITE_ONLY,
    )
    connection_string_file: Path | None = Field(
        default=None,
        description="A file that holds the connection string and nothing else; readable by the gateway's user only.",
    )
    hostname: str = Field(default="", description="X.509: the hub, for example myhub.azure-devices.net.")
    device_id: str = Field(default="", description="X.509: the device's id in the hub; the certificate's common name.")
    certificate_file: Path | None = Field(default=None, description="X.509: the device's certificate chain, PEM.")
    key_file: Path | None = Field(default=None, description="X.509: the certificate's private key, PEM, not encrypted.")
    ca_file: Path | None = Field(
        default=None,
        description="PEM of the authority that signed the hub's certificate: for edge gateways and stand-ins.",
    )
    proxy: Annotated[str, AfterValidator(check_proxy)] = Field(
        default="",
        description="http://[user:password@]host:port of a proxy that knows CONNECT. Sites that allow port 443 only "
        "need transport = websockets too. Secret when it has a password: better proxy_file.",
        repr=False,
        json_schema_extra=WRITE_ONLY,
    )
    proxy_file: Path | None = Field(default=None, description="A file that holds the proxy's URL and nothing else.")
    transport: Literal["mqtt", "websockets"] = Field(
        default="mqtt", description="mqtt uses port 8883, websockets port 443. Both are TLS."
    )
    batch_bytes_max: int = Field(
        default=4096,
        ge=1024,
        le=240 * 1024,
        description="Bytes of one message, properties included. IoT Hub bills blocks of 4 KB.",
    )
    drain_batch_bytes_max: int = Field(
        default=4096,
        ge=1024,
        le=240 * 1024,
        description="The same while a backlog drains after an outage. Larger drains faster under the hub's throttle.",
    )
    drain_order: Literal["weighted", "newest_first", "oldest_first"] = Field(
        default="weighted",
        description="What goes first while a backlog drains, inside a priority. weighted: by turns a message of the "
        "backlog and one of what came in since, so that news waits for one message and the past gets half of the link. "
        "newest_first: news, then the backlog from its newest on. oldest_first: strictly as it came in.",
    )
    batch_wait_s: float = Field(
        default=1, ge=0, le=3600, description="Seconds to wait for more events before a batch leaves."
    )
    tombstone_wait_s: float = Field(
        default=900,
        gt=0,
        le=604_800,
        description="Seconds that word of events held back by a policy waits for a message to travel with; "
        "then it has one of its own. At 900 a device that never changes costs 96 messages a day.",
    )
    messages_per_s_max: float = Field(
        default=50,
        gt=0,
        le=10_000,
        description="Messages a second. Half of the 100/s of an S1 hub, which other devices share.",
    )
    bytes_per_day_max: int = Field(
        default=0,
        ge=0,
        le=2**50,
        description="Bytes of messages a day, for links paid by the byte; then the rest waits for the next day. Does "
        "not count what TLS, MQTT and pings add: raise keep_alive_s on such links. 0: no limit.",
    )
    quiet_hours: tuple[Annotated[str, AfterValidator(check_quiet_hours)], ...] = Field(
        default=(),
        description='When the uplink rests, e.g. ["22:00-06:00"]: nothing is sent and no connection kept. Local time; '
        "while the clock is not right there are none.",
    )
    timezone: Annotated[str, AfterValidator(check_timezone)] = Field(
        default="",
        description='Of quiet_hours and of the day of bytes_per_day_max: "Europe/Vienna". Empty: as the system has it.',
    )
    window: int = Field(
        default=16,
        ge=1,
        le=16,
        description="Messages sent and not yet acknowledged. The SDK hangs beyond 20; 16 is fastest.",
    )
    keep_alive_s: int = Field(
        default=15, ge=5, le=300, description="Seconds between MQTT pings. A dead link is seen after twice that."
    )
    send_timeout_s: float = Field(
        default=12,
        gt=0,
        le=300,
        description="Seconds for an acknowledgement, then the session is replaced. The SDK has no such limit.",
    )
    connect_timeout_s: float = Field(
        default=30, gt=0, le=300, description="Seconds for a session to be accepted. Must be above keep_alive_s."
    )
    backoff_initial_s: float = Field(
        default=1, gt=0, le=3600, description="Seconds before the second try; doubled each time, with full jitter."
    )
    backoff_max_s: float = Field(
        default=60,
        gt=0,
        le=86_400,
        description="The most seconds between tries. The uplink's return is noticed within that.",
    )

    provisioning: CloudProvisioningSettings = CloudProvisioningSettings()
    edge: CloudEdgeSettings = CloudEdgeSettings()

    @property
    def identity_source(self) -> IdentitySource:
        """What says who we are: what the operator gave, before what a runtime says in the environment."""
        if self.connection_string:
            return "connection_string"
        if self.hostname and self.device_id and self.certificate_file and self.key_file:
            return "x509"
        if self.provisioning.id_scope:
            return "provisioning"
        return "edge" if self.edge.configured else "none"

    @property
    def uses_x509(self) -> bool:
        """Whether a certificate that is registered with the hub proves who we are."""
        return self.identity_source == "x509"

    @property
    def configured(self) -> bool:
        """Whether there is a hub to talk to; if not, the gateway buffers."""
        return self.identity_source != "none"
