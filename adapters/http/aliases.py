"""Paths that devices have hard-wired: ``[[http.alias]]``. The same door and the same promise, other words.

The success that a device insists on leaves after the fsync and never otherwise; what is refused or put off has a status
of 400 or above, whatever the settings say (gateway/settings/http_alias.py).
"""

import re
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.http.admission import Admission
from adapters.http.body import Body
from adapters.http.door import Sender, SubmissionDoor
from adapters.http.faces import Face, endpoint, refusal
from adapters.http.identity import captured_at_of, device_id_of_request, submission_id_of
from gateway.errors import NotAuthenticated, RequestInvalid, SubmissionError, Unavailable
from gateway.identifiers import device_id_checked
from gateway.messages import IdReuse
from gateway.ports import Meter
from gateway.settings import HttpAliasSettings


class AliasRoutes:
    """The routes of all aliases, in the order of the settings."""

    def __init__(
        self, *, aliases: Sequence[HttpAliasSettings], door: SubmissionDoor, admission: Admission, meter: Meter
    ) -> None:
        self._aliases = [_Alias(alias=alias, door=door, admission=admission) for alias in aliases]
        self._meter = meter

    def routes(self) -> list[Route]:
        """Return the routes; two aliases of one path differ in their methods (gateway/settings/relations.py)."""
        return [self._route(one) for one in self._aliases]

    def _route(self, alias: "_Alias") -> Route:
        path = alias.settings.path
        answering = endpoint(alias.take, route=path, meter=self._meter, told=alias.refusal)
        route = Route(path, answering, methods=list(alias.settings.methods))
        # Starlette adds HEAD to GET; one that stores a reading must not do so for whoever looks whether it is there.
        route.methods = set(alias.settings.methods)
        return route


class _Alias:
    def __init__(self, *, alias: HttpAliasSettings, door: SubmissionDoor, admission: Admission) -> None:
        self.settings = alias
        self._door = door
        self._admission = admission

    async def take(self, request: Request, body: Body) -> Response:
        """Return the success once what ``body`` holds is on disk."""
        content_type = request.headers.get("content-type", "")
        sender = await self._sender(request)
        if self.settings.takes == "image":
            await self._door.submit_image(body, content_type, sender)
        elif self.settings.takes == "values":
            await self._door.submit_values(self._fields(request), body, sender)
        else:
            await self._door.submit_readings(body, content_type, sender)
        return self._answer(self.settings.status, self.settings.body)

    def refusal(self, error: SubmissionError) -> Response:
        """Return ``error`` as this device reads it; a 401 asks for a password, so it stays one."""
        natural = refusal(error, Face.LEGACY)
        status = natural.status_code
        if not isinstance(error, NotAuthenticated):
            wanted = self.settings.busy_status if isinstance(error, Unavailable) else self.settings.refused_status
            status = wanted or status
        answer = self._answer(status, self._words(error, bytes(natural.body).decode()))
        for name in ("retry-after", "www-authenticate", *(() if self.settings.failure_body else ("content-type",))):
            if name in natural.headers:
                answer.headers[name] = natural.headers[name]
        return answer

    def _words(self, error: SubmissionError, natural: str) -> str:
        """Return what to say of a failure: never what a device could find its success in ("ok" in "token")."""
        choices = [self.settings.failure_body] if self.settings.failure_body else [natural, error.reason, ""]
        success = self.settings.body
        return next(text for text in choices if not success or success not in text)

    def _answer(self, status: int, text: str) -> Response:
        # As a header, since Starlette adds a charset to a media type of text.
        return Response(text, status, headers={"content-type": self.settings.content_type} if text else None)

    async def _sender(self, request: Request) -> Sender:
        query, headers = request.query_params, request.headers
        claimed = self._claimed(request)
        return Sender(
            device_id=await self._admission.device_of(request, claimed, key_query=self.settings.key_query),
            submission_id=submission_id_of(headers),
            captured_at=captured_at_of(query, headers),
            on_id_reuse=IdReuse.NEW_EVENT,
        )

    def _fields(self, request: Request) -> list[tuple[str, str]]:
        """Return what the query says beside the device's id, its secret and the time."""
        of_device = [source.removeprefix("query.") for source in self.settings.sources] or ["device"]
        aside = {self.settings.key_query, "captured_at", *of_device}
        return [(name, value) for name, value in request.query_params.multi_items() if name not in aside]

    def _claimed(self, request: Request) -> str:
        template = self.settings.device_id
        if not template:
            host = request.client.host if request.client else None
            return device_id_of_request(request.query_params, request.headers, host)
        return device_id_checked(re.sub(r"\{([^{}]*)\}", lambda place: _value(request, place[1]), template))


def _value(request: Request, source: str) -> str:
    """Return what stands at ``query.cam``, ``header.x-serial`` or ``path.name``."""
    kind, _, name = source.partition(".")
    values: Mapping[str, str] = {"query": request.query_params, "header": request.headers}.get(
        kind, request.path_params
    )
    value = values.get(name)
    if not value:
        raise RequestInvalid(f"the device id is not in the request ({kind} {name})", hint="see http.alias.device_id")
    return value
