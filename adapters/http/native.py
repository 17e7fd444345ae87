"""The native API under ``/v1``: pictures and readings in, receipts out, events back. Refusals are RFC 9457 problems."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.http import documents
from adapters.http.admission import Admission
from adapters.http.body import Body
from adapters.http.door import Sender, SubmissionDoor
from adapters.http.faces import endpoint, json_answer
from adapters.http.identity import captured_at_of, submission_id_of
from adapters.http.paths import EVENT, IMAGES, READINGS
from adapters.http.refusals import EventUnknown
from gateway.identifiers import ITEM_ID, device_id_checked, shortened
from gateway.messages import IdReuse
from gateway.ports import EventReader, Meter


class NativeRoutes:
    """What a device that was written for this gateway calls."""

    def __init__(self, *, door: SubmissionDoor, admission: Admission, reader: EventReader, meter: Meter) -> None:
        self._door = door
        self._admission = admission
        self._reader = reader
        self._meter = meter

    def routes(self) -> list[Route]:
        """Return the routes."""
        handlers = ((IMAGES, "POST", self._images), (READINGS, "POST", self._readings), (EVENT, "GET", self._event))
        return [
            Route(path, endpoint(handler, route=path, meter=self._meter), methods=[method])
            for path, method, handler in handlers
        ]

    async def _images(self, request: Request, body: Body) -> Response:
        content_type = request.headers.get("content-type", "")
        receipt = await self._door.submit_image(body, content_type, await self._sender(request))
        return json_answer(documents.image_receipt(receipt))

    async def _readings(self, request: Request, body: Body) -> Response:
        content_type = request.headers.get("content-type", "")
        receipt = await self._door.submit_readings(body, content_type, await self._sender(request))
        return json_answer(documents.readings_receipt(receipt))

    async def _event(self, request: Request, _: Body) -> Response:
        device_id = await self._device_id(request)
        item_id: str = request.path_params["submission_id"]
        found = await self._reader.find_event(device_id, item_id) if ITEM_ID.fullmatch(item_id) else None
        if found is None:
            raise EventUnknown(f"device {device_id} has no event {shortened(item_id)}")
        return json_answer(documents.event(found))

    async def _device_id(self, request: Request) -> str:
        return await self._admission.device_of(request, device_id_checked(request.path_params["device_id"]))

    async def _sender(self, request: Request) -> Sender:
        query, headers = request.query_params, request.headers
        return Sender(
            device_id=await self._device_id(request),
            submission_id=submission_id_of(headers),
            captured_at=captured_at_of(query, headers),
            on_id_reuse=IdReuse.REJECT,
        )
