"""The faces towards devices: an explicit table of name → factory.

Heavy libraries are imported inside the factories: a gateway without a kind of
device never loads that kind's library.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.ports import Adapter, Clock, EventReader, Intake, Meter, Readiness
from gateway.settings import Settings


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
    )


FACTORIES: Mapping[str, Callable[[Settings, AdapterParts], Adapter | None]] = {"http": _http}


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
