"""The routes of the exported Custom Vision container, and those that the Custom Vision SDK and portal call.

Pictures in, ``predictions`` out. ``nostore`` changes nothing: pictures are never stored.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.http import documents
from adapters.http.admission import Admission
from adapters.http.body import Body
from adapters.http.door import Sender, SubmissionDoor
from adapters.http.faces import endpoint, json_answer
from adapters.http.identity import captured_at_of, device_id_of_request, submission_id_of
from adapters.http.paths import custom_vision_paths
from gateway.messages import IdReuse
from gateway.ports import Meter


class CustomVisionRoutes:
    """Paths are case-sensitive and a trailing slash is 404, as in the container (paths.py has the one exception)."""

    def __init__(self, *, door: SubmissionDoor, admission: Admission, meter: Meter) -> None:
        self._door = door
        self._admission = admission
        self._meter = meter

    def routes(self) -> list[Route]:
        """Return the routes, the container's plain ones first."""
        # PUT is what `curl -T` and some cameras say.
        handlers = (("image", self._image, ["POST", "PUT"]), ("url", self._url, ["POST"]))
        return [
            Route(path, endpoint(handler, route=path, meter=self._meter), methods=methods)
            for leaf, handler, methods in handlers
            for path in custom_vision_paths(leaf)
        ]

    async def _image(self, request: Request, body: Body) -> Response:
        content_type = request.headers.get("content-type", "")
        receipt = await self._door.submit_image(body, content_type, await self._sender(request))
        return json_answer(documents.custom_vision(receipt))

    async def _url(self, request: Request, body: Body) -> Response:
        receipt = await self._door.submit_url(body, await self._sender(request))
        return json_answer(documents.custom_vision(receipt))

    async def _sender(self, request: Request) -> Sender:
        host = request.client.host if request.client else None
        query, headers = request.query_params, request.headers
        return Sender(
            device_id=await self._admission.device_of(request, device_id_of_request(query, headers, host)),
            submission_id=submission_id_of(headers),
            captured_at=captured_at_of(query, headers),
            # A legacy client can't act on a 422: a known id with other bytes is a new event, marked id_reused.
            on_id_reuse=IdReuse.NEW_EVENT,
        )
