"""What answers without a submission: the banner, /healthz (the process is alive), /readyz (it accepts and commits)."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from adapters.http.body import Body
from adapters.http.faces import endpoint, json_answer
from adapters.http.paths import BANNER, HEALTHZ, READYZ
from gateway.ports import Meter, Readiness

# Obstacles are starts, stops and full disks: a probe that asks every few seconds is soon enough.
NOT_READY_RETRY_AFTER_S = 5


class ProbeRoutes:
    """Cheap, and never dependent on the cloud: a gateway that buffers must not be restarted."""

    def __init__(self, *, readiness: Readiness, meter: Meter, banner: str) -> None:
        self._readiness = readiness
        self._meter = meter
        self._banner = banner

    def routes(self) -> list[Route]:
        """Return the routes; Starlette adds HEAD to GET, for load balancers."""
        handlers = ((BANNER, self._greet), (HEALTHZ, self._alive), (READYZ, self._ready))
        return [
            Route(path, endpoint(handler, route=path, meter=self._meter), methods=["GET"]) for path, handler in handlers
        ]

    async def _greet(self, _request: Request, _body: Body) -> Response:
        return PlainTextResponse(self._banner)

    async def _alive(self, _request: Request, _body: Body) -> Response:
        return json_answer({"alive": True})

    async def _ready(self, _request: Request, _body: Body) -> Response:
        obstacles = self._readiness.obstacles()
        document: dict[str, object] = {"ready": not obstacles, "obstacles": list(obstacles)}
        if obstacles:
            return json_answer(document, 503, {"retry-after": str(NOT_READY_RETRY_AFTER_S)})
        return json_answer(document)
