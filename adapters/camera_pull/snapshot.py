"""One camera's snapshot: where it is, who asks, redirects, and the picture at the end.

A redirect is followed on the same host only, and never from https to http. A wrong login is tried once a call: many
cameras lock the account after five.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ssl import SSLContext
from urllib.parse import quote

from adapters.camera_pull.exchange import Answer, asking
from adapters.camera_pull.faults import CameraFault, Reason
from adapters.camera_pull.heads import Head
from adapters.camera_pull.login import Login
from adapters.camera_pull.whereabouts import Whereabouts
from gateway.identifiers import shortened
from gateway.settings import PulledCameraSettings
from gateway.web_targets import Target, UrlInvalid, parse_url, redirected

# A challenge, an old nonce, and two redirects.
REQUESTS_MAX = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Leave to read a picture: ``grow`` counts its bytes, ``within_s`` is for how long, if below ``timeout_s``."""

    grow: Callable[[int], None]
    within_s: float = math.inf


# Returns once there is room to begin reading.
Admit = Callable[[], Awaitable[Admission]]


class Snapshot:
    """One for each camera."""

    def __init__(
        self,
        *,
        settings: PulledCameraSettings,
        password: str,
        bytes_max: int,
        whereabouts: Whereabouts,
        login: Login,
        tls: Callable[[], SSLContext],
    ) -> None:
        self._settings = settings
        self._bytes_max = bytes_max
        self._whereabouts = whereabouts
        self._login = login
        self._tls = tls
        filled = settings.url.replace("{username}", quote(settings.username, safe=""))
        self._target = parse_url(filled.replace("{password}", quote(password, safe="")))

    @property
    def where(self) -> str:
        """Where it is asked, for people: never the path, in which a login may be."""
        return f"{self._target.scheme}://{self._target.authority}"

    async def fetch(self, admit: Admit) -> bytes:
        """Return the picture that the camera shows now.

        ``admit`` is called when the answer has begun well, and may take its time. Raises CameraFault, and what
        ``admit`` and the counting raise. The camera has ``timeout_s`` for each beginning of an answer, and for the
        picture.
        """
        target = self._target
        self._login.begin()
        for _ in range(REQUESTS_MAX):
            async with self._asking(target) as answer:
                head = answer.head
                if head.status in _REDIRECTS and head.first("location"):
                    target = _onward(target, head.first("location"))
                elif head.status == 401:
                    self._login.challenged(head.every("www-authenticate"))
                else:
                    _check(head)
                    admission = await admit()
                    async with self._in_time("its picture", within_s=admission.within_s):
                        return await answer.picture(bytes_max=self._bytes_max, grow=admission.grow)
        raise CameraFault(Reason.REDIRECT_REFUSED, f"it sends us on more than {REQUESTS_MAX - 1} times")

    @asynccontextmanager
    async def _asking(self, target: Target) -> AsyncIterator[Answer]:
        async with AsyncExitStack() as connection:
            async with self._in_time("an answer"):
                addresses = await self._whereabouts.addresses(target)
                answer = await connection.enter_async_context(
                    asking(
                        target,
                        addresses,
                        tls=self._tls() if target.scheme == "https" else None,
                        fingerprint=self._settings.fingerprint,
                        authorization=self._login.header(target.path),
                    )
                )
            yield answer

    @asynccontextmanager
    async def _in_time(self, what: str, *, within_s: float = math.inf) -> AsyncIterator[None]:
        time_s = min(self._settings.timeout_s, within_s)
        try:
            async with asyncio.timeout(time_s):
                yield
        except TimeoutError as error:
            raise CameraFault(Reason.TIMED_OUT, f"{what} did not come in {time_s:g} s") from error


def _onward(target: Target, location: str) -> Target:
    try:
        onward = parse_url(redirected(target, location.replace(" ", "%20")))
    except UrlInvalid as error:
        raise CameraFault(Reason.REDIRECT_REFUSED, str(error)) from error
    if onward.host != target.host:
        raise CameraFault(Reason.REDIRECT_REFUSED, f"it redirects to another host, {shortened(onward.host)}")
    if target.scheme == "https" and onward.scheme == "http":
        raise CameraFault(Reason.REDIRECT_REFUSED, "it redirects from https to http")
    return onward


def _check(head: Head) -> None:
    if head.status in {403, 407}:
        raise CameraFault(Reason.LOGIN_REFUSED, f"it answers {head.status}")
    if head.status not in {200, 203, 206}:
        raise CameraFault(Reason.STATUS, f"it answers {head.status}")
