"""The operator's face on ``admin.listen``: metrics, health detail, API document and page. No device routes."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gateway.settings import AdminSettings

if TYPE_CHECKING:
    from adapters.http.server import EmbeddedServer

# Operators are few: a scraper and a browser with its six connections fit many times.
CONNECTIONS_MAX = 64
HEADER_TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 75.0


class AdminFace:
    """Implements ports.Adapter, for operators instead of devices. May be started again."""

    name = "admin"

    def __init__(self, *, server: "EmbeddedServer") -> None:
        self._server = server

    @property
    def port(self) -> int:
        """The port, the real one once started."""
        return self._server.port

    async def start(self) -> None:
        """Return when it is served. Raises AdapterUnavailable with the cure."""
        await self._server.start()

    async def failed(self) -> None:
        """Raise AdapterUnavailable when the server ends by itself; never return."""
        await self._server.failed()

    async def stop(self, deadline_s: float) -> None:
        """Stop accepting, finish answers, then cut what is left."""
        await self._server.stop(deadline_s)

    def describe(self) -> str:
        """Return the URL that operators use."""
        return self._server.url


def create_admin_face(
    *,
    settings: AdminSettings,
    metrics: Callable[[], bytes],
    health: Callable[[], Mapping[str, object]],
    openapi: Callable[[], Mapping[str, Any]] | None,
) -> AdminFace:
    """Return a face that is not started.

    ``metrics`` gives Prometheus text, ``health`` a JSON-able mapping; ``openapi`` is None when HTTP devices are off.
    """
    from adapters.http.admin_pages import admin_app
    from adapters.http.protocol import Guard
    from adapters.http.server import EmbeddedServer

    app = admin_app(metrics=metrics, health=health, openapi=openapi)
    guard = Guard(
        header_timeout_s=HEADER_TIMEOUT_S,
        body_timeout_s=BODY_TIMEOUT_S,
        idle_timeout_s=IDLE_TIMEOUT_S,
        connections_max=CONNECTIONS_MAX,
    )
    return AdminFace(server=EmbeddedServer(app=app, listen=settings.listen, setting="admin.listen", guard=guard))
