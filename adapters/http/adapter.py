"""The HTTP adapter: the device API and its server. Starlette and uvicorn are imported by the factory only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adapters.http import openapi
from gateway.ports import Clock, EventReader, Gatekeeper, Intake, Meter, Readiness, TlsSource
from gateway.settings import HttpSettings, LimitsSettings

if TYPE_CHECKING:
    from adapters.http.server import EmbeddedServer


class HttpAdapter:
    """Implements ports.Adapter. May be started again after a stop or a failure."""

    name = "http"

    def __init__(self, *, server: "EmbeddedServer", version: str) -> None:
        self._server = server
        self._version = version

    @property
    def port(self) -> int:
        """The port, the real one once started."""
        return self._server.port

    async def start(self) -> None:
        """Return when devices are served. Raises AdapterUnavailable with the cure."""
        await self._server.start()

    async def failed(self) -> None:
        """Raise AdapterUnavailable when the server ends by itself; never return."""
        await self._server.failed()

    async def stop(self, deadline_s: float) -> None:
        """Stop accepting, finish what was admitted, then cut what is left."""
        await self._server.stop(deadline_s)

    def describe(self) -> str:
        """Return the URL that devices use."""
        return self._server.url

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document of the device routes, for the admin face."""
        return openapi.document(server_url=self._server.url, version=self._version)


def create_http_adapter(
    *,
    settings: HttpSettings,
    limits: LimitsSettings,
    intake: Intake,
    reader: EventReader,
    readiness: Readiness,
    meter: Meter,
    clock: Clock,
    version: str,
    model_name: str = "",
    labels: Sequence[str] = (),
    gatekeeper: Gatekeeper | None = None,
    tls: TlsSource | None = None,
) -> HttpAdapter:
    """Return an adapter that is not started. Raises AdapterUnavailable if ``settings.listen`` is no address.

    Without a ``gatekeeper`` nobody can prove anything: then ``http.access`` must be open. With ``tls`` it speaks TLS.
    """
    from adapters.http.admission import Admission
    from adapters.http.api import DeviceApi, banner
    from adapters.http.door import SubmissionDoor
    from adapters.http.protocol import Guard
    from adapters.http.server import EmbeddedServer
    from adapters.http.url_fetch import UrlFetcher

    fetcher = UrlFetcher(settings=settings.url_fetch)
    api = DeviceApi(
        door=SubmissionDoor(intake=intake, limits=limits, clock=clock, fetcher=fetcher),
        admission=Admission(access=settings.effective_access, gatekeeper=gatekeeper),
        reader=reader,
        readiness=readiness,
        meter=meter,
        banner=banner(version, model_name, labels),
        aliases=settings.alias,
    )
    guard = Guard(
        header_timeout_s=settings.header_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
        connections_max=settings.connections_max,
        allowed_networks=settings.allowed_networks,
        meter=meter,
    )
    server = EmbeddedServer(
        app=api,
        listen=settings.listen,
        setting="http.listen",
        guard=guard,
        interface=settings.interface,
        tls=tls,
        plain_networks=settings.plain_networks,
    )
    return HttpAdapter(server=server, version=version)
