"""The device side's ASGI application: the three groups of routes and the answers for strays.

Starlette without FastAPI: every body is read by hand and described by hand (openapi.py), so FastAPI would add 10 MB,
a quarter of a second at start and a tenth of a millisecond per picture, and nothing else.
"""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from adapters.http.admission import Admission
from adapters.http.aliases import AliasRoutes
from adapters.http.custom_vision import CustomVisionRoutes
from adapters.http.door import SubmissionDoor
from adapters.http.faces import Strays
from adapters.http.native import NativeRoutes
from adapters.http.paths import canonical_path
from adapters.http.probes import ProbeRoutes
from gateway.ports import EventReader, Meter, Readiness
from gateway.settings import HttpAliasSettings


class DeviceApi:
    """An ASGI application. No middleware of ours: each would cost every picture some of its latency."""

    def __init__(
        self,
        *,
        door: SubmissionDoor,
        admission: Admission,
        reader: EventReader,
        readiness: Readiness,
        meter: Meter,
        banner: str,
        aliases: Sequence[HttpAliasSettings] = (),
    ) -> None:
        strays = Strays(meter=meter)
        self.routes = [
            *AliasRoutes(aliases=aliases, door=door, admission=admission, meter=meter).routes(),
            *CustomVisionRoutes(door=door, admission=admission, meter=meter).routes(),
            *NativeRoutes(door=door, admission=admission, reader=reader, meter=meter).routes(),
            *ProbeRoutes(readiness=readiness, meter=meter, banner=banner).routes(),
        ]
        self._app = Starlette(
            routes=self.routes,
            exception_handlers={HTTPException: strays.unrouted, Exception: strays.unexpected},
        )
        # A trailing slash is 404 in the container, and the Wio follows no redirect on POST.
        self._app.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["path"] = canonical_path(scope["path"])
        await self._app(scope, receive, send)


def banner(version: str, model_name: str, labels: Sequence[str]) -> str:
    """Return the text of ``GET /``."""
    lines = [f"gateway-bridge {version}"]
    if model_name:
        lines.append(f"model: {model_name} ({', '.join(labels)})" if labels else f"model: {model_name}")
    lines.append("POST a picture to /image or /v1/devices/{device_id}/images")
    return "\n".join(lines) + "\n"
