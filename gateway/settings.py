"""Settings: TOML file + environment → one frozen :class:`Settings`.

Owns every key, its type, bounds and default with its reason. Loading reports
every mistake at once, each with where it stands and how to mend it.
"""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MIB = 1024 * 1024


class Section(BaseModel):
    """A table of the settings file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class GatewaySettings(Section):
    id: str = ""  # empty: the host's name
    data_dir: Path = Path("data")
    log_format: Literal["auto", "human", "json"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class LimitsSettings(Section):
    # Half of a 512 MB board: pixel cap, workers and in-flight bytes derive from it (gateway/limits.py).
    memory_budget_mb: Annotated[int, Field(ge=128, le=65536)] = 256
    # Twice the Custom Vision container's 4 MiB: phones send 5-6 MB.
    image_bytes_max: Annotated[int, Field(ge=1024, le=256 * MIB)] = 8 * MIB
    reading_bytes_max: Annotated[int, Field(ge=64, le=128 * 1024)] = 64 * 1024
    # More waiting than this only adds latency: one core serves about 30 pictures a second.
    in_flight_max: Annotated[int, Field(ge=1, le=10_000)] = 64
    # Below the 60 s after which many HTTP clients give up.
    submit_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30


class ModelSettings(Section):
    path: Path = Path("models/fruit")
    name: str = ""  # empty: the folder's or the zip's name
    runtime: Literal["auto", "litert", "tflite-runtime"] = "auto"
    preprocessing: Literal["auto", "custom-vision", "metadata", "bundle"] = "auto"
    workers: Annotated[int, Field(ge=0, le=64)] = 0  # 0: one per core within the memory budget


class UrlFetchSettings(Section):
    allowed_hosts: tuple[str, ...] = ()  # empty: /url is off
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()  # private ranges that may be fetched from
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10


class HttpSettings(Section):
    enabled: bool = True
    listen: str = "127.0.0.1:8080"
    # A Wio Terminal on weak Wi-Fi needs seconds for a header; a slowloris wants minutes.
    header_timeout_s: Annotated[float, Field(gt=0, le=300)] = 10
    body_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30
    idle_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 75
    connections_max: Annotated[int, Field(ge=1, le=100_000)] = 256
    url_fetch: UrlFetchSettings = UrlFetchSettings()


class AdminSettings(Section):
    enabled: bool = True
    listen: str = "127.0.0.1:8081"


class OutboxSettings(Section):
    # A year of one result a minute; at about 1 kB a row half a gigabyte of card.
    rows_max: Annotated[int, Field(ge=10)] = 525_600
    bytes_max: Annotated[int, Field(ge=MIB)] = 1024 * MIB
    delivered_keep_h: Annotated[float, Field(ge=0)] = 72  # a long weekend of local reading
    id_keep_days: Annotated[float, Field(ge=0)] = 30  # how long a pruned event's id still recognises a redelivery
    refusals_max: Annotated[int, Field(ge=0)] = 1000
    group_commit_max: Annotated[int, Field(ge=1, le=1024)] = 128  # facts: more gains little, and delays the first


class CloudSettings(Section):
    connection_string: str = ""  # secret; or connection_string_file
    connection_string_file: Path | None = None
    hostname: str = ""  # with device_id, certificate_file and key_file: X.509 instead of a connection string
    device_id: str = ""
    certificate_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None  # PEM, for gateways and stand-ins
    proxy: str = ""  # http://[user:password@]host:port, reached by CONNECT
    transport: Literal["mqtt", "websockets"] = "mqtt"
    batch_bytes_max: Annotated[int, Field(ge=1024, le=240 * 1024)] = 4096  # one billed 4 KB block, properties included
    drain_batch_bytes_max: Annotated[int, Field(ge=1024, le=240 * 1024)] = 4096  # after an outage
    batch_wait_s: Annotated[float, Field(ge=0, le=3600)] = 1
    messages_per_s_max: Annotated[float, Field(gt=0)] = 50  # half of an S1 hub's 100/s
    window: Annotated[int, Field(ge=1, le=16)] = 16  # the SDK hangs beyond 20
    keep_alive_s: Annotated[int, Field(ge=5, le=300)] = 15
    send_timeout_s: Annotated[float, Field(gt=0, le=300)] = 12
    connect_timeout_s: Annotated[float, Field(gt=0, le=300)] = 30
    backoff_initial_s: Annotated[float, Field(gt=0)] = 1
    backoff_max_s: Annotated[float, Field(gt=0)] = 60


class Settings(Section):
    gateway: GatewaySettings = GatewaySettings()
    limits: LimitsSettings = LimitsSettings()
    model: ModelSettings = ModelSettings()
    http: HttpSettings = HttpSettings()
    admin: AdminSettings = AdminSettings()
    outbox: OutboxSettings = OutboxSettings()
    cloud: CloudSettings = CloudSettings()
