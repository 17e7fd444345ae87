"""The faces towards devices: an explicit table of name → factory.

Heavy libraries are imported inside the factories: a gateway without a kind of
device never loads that kind's library.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.ports import Adapter, Clock, EventReader, Gatekeeper, Intake, Meter, Readiness, StatusSink, TlsSource
from gateway.settings import Settings

if TYPE_CHECKING:
    from adapters.mqtt.ingest import MqttIngest


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterParts:
    """What adapters may use, and what they may tell devices of us."""

    intake: Intake
    reader: EventReader
    readiness: Readiness
    meter: Meter
    clock: Clock
    version: str
    model_name: str
    labels: Sequence[str]
    status: StatusSink
    gatekeeper: Gatekeeper
    http_tls: TlsSource | None = None
    mqtt_tls: TlsSource | None = None


def _http(settings: Settings, parts: AdapterParts) -> Adapter | None:
    if not settings.http.enabled:
        return None
    from adapters.http.adapter import create_http_adapter

    return create_http_adapter(
        settings=settings.http,
        limits=settings.limits,
        intake=parts.intake,
        reader=parts.reader,
        readiness=parts.readiness,
        meter=parts.meter,
        clock=parts.clock,
        version=parts.version,
        model_name=parts.model_name,
        labels=parts.labels,
        gatekeeper=parts.gatekeeper,
        tls=parts.http_tls,
    )


def _mqtt_listener(settings: Settings, parts: AdapterParts) -> Adapter | None:
    if not settings.mqtt.listen:
        return None
    from adapters.mqtt.listener import create_mqtt_listener
    from adapters.mqtt.listener_status import reporting_to

    return create_mqtt_listener(
        settings=settings.mqtt,
        limits=settings.limits,
        ingest=_mqtt_ingest(settings, parts),
        meter=parts.meter,
        clock=parts.clock,
        data_dir=settings.gateway.data_dir,
        on_status=reporting_to(parts.status),
        gatekeeper=parts.gatekeeper,
        tls=parts.mqtt_tls,
    )


def _mqtt_broker(settings: Settings, parts: AdapterParts) -> Adapter | None:
    if not settings.mqtt.url:
        return None
    from adapters.mqtt.broker import create_mqtt_broker_client

    return create_mqtt_broker_client(
        settings=settings.mqtt,
        limits=settings.limits,
        ingest=_mqtt_ingest(settings, parts),
        meter=parts.meter,
        clock=parts.clock,
        gateway_id=settings.gateway.id,
        data_dir=settings.gateway.data_dir,
    )


def _mqtt_ingest(settings: Settings, parts: AdapterParts) -> "MqttIngest":
    """Return an ingest of its own for each way: a picture's chunks all come the same way."""
    from adapters.mqtt.ingest import MqttIngest

    return MqttIngest(
        intake=parts.intake, settings=settings.mqtt, limits=settings.limits, clock=parts.clock, meter=parts.meter
    )


def _ble(settings: Settings, parts: AdapterParts) -> Adapter | None:
    if not settings.ble.enabled:
        return None
    from adapters.ble.adapter import create_ble_adapter

    return create_ble_adapter(
        settings=settings.ble,
        limits=settings.limits,
        intake=parts.intake,
        meter=parts.meter,
        clock=parts.clock,
        status=parts.status,
    )


def _camera_pull(settings: Settings, parts: AdapterParts) -> Adapter | None:
    if not settings.camera_pull.camera:
        return None
    from adapters.camera_pull.adapter import create_camera_pull_adapter

    return create_camera_pull_adapter(
        settings=settings.camera_pull,
        limits=settings.limits,
        intake=parts.intake,
        meter=parts.meter,
        clock=parts.clock,
        status=parts.status,
    )


FACTORIES: Mapping[str, Callable[[Settings, AdapterParts], Adapter | None]] = {
    "http": _http,
    "mqtt_listener": _mqtt_listener,
    "mqtt_broker": _mqtt_broker,
    "ble": _ble,
    "camera_pull": _camera_pull,
}


def build_adapters(settings: Settings, parts: AdapterParts) -> tuple[Adapter, ...]:
    """Return every enabled device adapter, not started."""
    built = (factory(settings, parts) for factory in FACTORIES.values())
    return tuple(adapter for adapter in built if adapter is not None)


def build_admin_face(
    settings: Settings,
    adapters: Sequence[Adapter],
    *,
    metrics: Callable[[], bytes],
    health: Callable[[], Mapping[str, object]],
) -> Adapter | None:
    """Return the operator's face (metrics, API docs, health detail), or None when disabled."""
    if not settings.admin.enabled:
        return None
    from adapters.http.adapter import HttpAdapter
    from adapters.http.admin import create_admin_face

    documented = next((adapter for adapter in adapters if isinstance(adapter, HttpAdapter)), None)
    return create_admin_face(
        settings=settings.admin,
        metrics=metrics,
        health=health,
        openapi=None if documented is None else documented.openapi,
    )
