"""What the client of a broker needs to know, taken from the settings once. Pure."""

from dataclasses import dataclass
from pathlib import Path

from gateway.settings import LimitsSettings, MqttSettings
from gateway.settings.forms import parse_broker_url
from gateway.settings.topic_patterns import parse_pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """One broker, our identity there and what we ask it for. ``password`` is None without a login."""

    url: str
    host: str
    port: int
    tls: bool
    client_id: str
    username: str
    password: str | None
    ca_file: Path | None
    certificate_file: Path | None
    key_file: Path | None
    keepalive_s: int
    connect_timeout_s: float
    packet_bytes_max: int
    filters: tuple[str, ...]

    @property
    def session_key(self) -> str:
        """What a session at a broker is kept under."""
        return f"{self.client_id}@{self.url}"


def broker_options(settings: MqttSettings, limits: LimitsSettings, *, gateway_id: str) -> BrokerOptions:
    """Return the options. Raises ValueError if ``settings.url`` is no URL of a broker."""
    place = parse_broker_url(settings.url)
    return BrokerOptions(
        url=settings.url,
        host=place.host,
        port=place.port,
        tls=place.tls,
        client_id=settings.client_id or gateway_id,
        username=settings.username,
        password=settings.password or None,
        ca_file=settings.ca_file,
        certificate_file=settings.certificate_file,
        key_file=settings.key_file,
        keepalive_s=settings.keepalive_s,
        connect_timeout_s=settings.connect_timeout_s,
        packet_bytes_max=limits.mqtt_packet_bytes_max,
        filters=topic_filters(settings),
    )


def topic_filters(settings: MqttSettings) -> tuple[str, ...]:
    """Return what to subscribe to, shared with the other members of ``mqtt.share_group`` if there is one."""
    topics = settings.topics
    filters = dict.fromkeys(
        parse_pattern(text).subscription for text in (*topics.images, *topics.readings, *topics.chunks)
    )
    shared = f"$share/{settings.share_group}/" if settings.share_group else ""
    return tuple(shared + text for text in filters)
