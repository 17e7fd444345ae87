"""The faces towards devices: an explicit table of name → factory.

Heavy libraries are imported inside the factories: a gateway without a kind of
device never loads that kind's library.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.ports import Adapter, Clock, EventReader, Intake, Meter, Readiness
from gateway.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterParts:
    """What every adapter may use."""

    intake: Intake
    reader: EventReader
    readiness: Readiness
    meter: Meter
    clock: Clock


def _http(settings: Settings, parts: AdapterParts) -> Adapter | None:
    if not settings.http.enabled:
        return None
    from adapters.http.adapter import HttpAdapter

    return HttpAdapter(
        settings=settings.http,
        limits=settings.limits,
        intake=parts.intake,
        reader=parts.reader,
        readiness=parts.readiness,
        meter=parts.meter,
        clock=parts.clock,
    )


FACTORIES: Mapping[str, Callable[[Settings, AdapterParts], Adapter | None]] = {"http": _http}


def build_adapters(settings: Settings, parts: AdapterParts) -> tuple[Adapter, ...]:
    """Return every enabled device adapter, not started."""
    built = (factory(settings, parts) for factory in FACTORIES.values())
    return tuple(adapter for adapter in built if adapter is not None)


def build_admin_face(
    settings: Settings,
    parts: AdapterParts,
    *,
    metrics_text: Callable[[], bytes],
    health_detail: Callable[[], Mapping[str, Any]],
) -> Adapter | None:
    """Return the operator's face (metrics, API docs, health detail), or None when disabled."""
    if not settings.admin.enabled:
        return None
    from adapters.http.admin import AdminFace

    return AdminFace(settings=settings.admin, meter=parts.meter, metrics_text=metrics_text, health_detail=health_detail)
