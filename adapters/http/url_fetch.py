"""Fetches a picture that a request names by URL, without becoming anybody's way into the site's network.

Off unless ``http.url_fetch.allowed_hosts`` names hosts. Then: http and https only, those hosts only, default ports
unless the entry names one (``camera.local:8443``), addresses outside private ranges unless ``allowed_networks`` lists
them. The connection goes to the very address that was checked, so that a second DNS answer changes nothing. Redirects
are followed twice at most, to the same host, and every hop is checked anew. Proxies of the environment are not used.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import h11

from adapters.http.refusals import UrlAnswerUnusable, UrlFetchOff, UrlNotFetched, UrlRefused
from gateway.errors import PayloadTooLarge, RequestInvalid
from gateway.identifiers import shortened
from gateway.name_lookup import NameLookup
from gateway.ports import Reservation
from gateway.settings import UrlFetchSettings
from gateway.web_targets import (
    DEFAULT_PORTS,
    Target,
    UrlInvalid,
    address_of,
    is_public,
    parse_url,
    redirected,
)

REDIRECTS_MAX = 2
READ_BYTES = 64 * 1024

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


def url_of_document(data: bytes) -> str:
    """Return the URL in ``{"url": "..."}`` (older clients write ``Url``); RequestInvalid for anything else."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RequestInvalid("the body is not JSON", hint='send {"url": "http://..."}') from error
    url = None
    if isinstance(document, dict):
        url = document.get("url", document.get("Url"))
    if not isinstance(url, str) or not url:
        raise RequestInvalid("the body names no url", hint='send {"url": "http://..."}')
    return url


def _target(url: str) -> Target:
    try:
        return parse_url(url)
    except UrlInvalid as error:
        raise UrlRefused(str(error)) from error


class UrlFetcher:
    """Fetches one picture at a time per call; holds no connection between calls."""

    def __init__(self, *, settings: UrlFetchSettings, resolve: Resolver | None = None) -> None:
        self._allowed = frozenset(entry.lower() for entry in settings.allowed_hosts)
        self._networks = settings.allowed_networks
        self._timeout_s = settings.timeout_s
        self._resolve = resolve or NameLookup()

    def check_enabled(self) -> None:
        """Raise UrlFetchOff unless hosts are allowed: before the body is read."""
        if not self._allowed:
            raise UrlFetchOff("this gateway fetches no URLs")

    async def fetch(self, url: str, *, bytes_max: int, reservation: Reservation) -> bytes:
        """Return the picture's bytes, at least one.

        Raises UrlRefused, UrlAnswerUnusable, PayloadTooLarge; UrlNotFetched and IntakeFull if later may be better.
        """
        self.check_enabled()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(_target(url), bytes_max, reservation)
        except TimeoutError as error:
            raise UrlNotFetched(f"{shortened(url)} took longer than {self._timeout_s:g} s") from error
        except (OSError, h11.RemoteProtocolError) as error:
            # The text of an SSL or protocol error comes from the other side: one bounded line of it.
            raise UrlNotFetched(f"{shortened(url)}: {shortened(str(error))}") from error

    async def _follow(self, target: Target, bytes_max: int, reservation: Reservation) -> bytes:
        for _ in range(REDIRECTS_MAX + 1):
            answer = await self._request(target, bytes_max, reservation)
            if isinstance(answer, bytes):
                return answer
            onward = _target(answer)
            if onward.host != target.host:
                raise UrlRefused(f"{target.host} redirects to another host, {shortened(onward.host)}")
            target = onward
        raise UrlAnswerUnusable(f"{target.host} redirects more than {REDIRECTS_MAX} times")

    async def _request(self, target: Target, bytes_max: int, reservation: Reservation) -> bytes | str:
        """Return the body, or where a redirect leads."""
        address = await self._address_of(target)
        async with _connection(target, address) as exchange:
            await exchange.ask(target)
            head = await exchange.head()
            headers = dict(head.headers)
            if head.status_code in {301, 302, 303, 307, 308} and b"location" in headers:
                return _joined(target, headers[b"location"].decode("latin-1"))
            _check_answer(target, head.status_code, headers)
            return await exchange.read(bytes_max, reservation)

    async def _address_of(self, target: Target) -> str:
        named = {f"{target.host}:{target.port}", f"[{target.host}]:{target.port}"}
        if target.port == DEFAULT_PORTS[target.scheme]:
            named.add(target.host)
        if not named & self._allowed:
            raise UrlRefused(f"the host {shortened(target.authority)} is not allowed")
        for text in await self._addresses_of(target):
            if self._is_open(text):
                return text
        raise UrlRefused(f"{target.host} is at a private address")

    async def _addresses_of(self, target: Target) -> Sequence[str]:
        try:
            return await self._resolve(target.host, target.port)
        except UnicodeError as error:  # a label that no name server could know
            raise UrlRefused(f"the host {shortened(target.host)} is no name") from error

    def _is_open(self, text: str) -> bool:
        address = address_of(text)
        return is_public(address) or any(address in network for network in self._networks)


def _joined(target: Target, location: str) -> str:
    try:
        return redirected(target, location)
    except UrlInvalid as error:
        raise UrlAnswerUnusable(str(error)) from error


def _check_answer(target: Target, status: int, headers: dict[bytes, bytes]) -> None:
    if status >= 500 or status in {408, 429}:
        raise UrlNotFetched(f"{target.host} answered {status}")
    if status != 200:
        raise UrlAnswerUnusable(f"{target.host} answered {status}")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UrlAnswerUnusable(f"{target.host} answers with a content encoding that was not asked for")


class _Exchange:
    """One request and its answer on one connection; h11 speaks HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    async def ask(self, target: Target) -> None:
        headers = [
            ("host", target.authority),
            ("user-agent", "gateway-bridge"),
            ("accept", "image/*"),
            ("accept-encoding", "identity"),
            ("connection", "close"),
        ]
        request = h11.Request(method="GET", target=target.path, headers=headers)
        self._writer.write((self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b""))
        await self._writer.drain()

    async def head(self) -> h11.Response:
        while not isinstance(event := await self._event(), h11.Response):
            pass  # 1xx
        return event

    async def read(self, bytes_max: int, reservation: Reservation) -> bytes:
        chunks: list[bytes] = []
        total = 0
        while isinstance(event := await self._event(), h11.Data):
            total += len(event.data)
            if total > bytes_max:
                raise PayloadTooLarge(f"the picture behind the URL has more than {bytes_max} bytes")
            reservation.grow(len(event.data))
            chunks.append(bytes(event.data))
        if not total:
            raise UrlAnswerUnusable("the URL answered with nothing")
        return b"".join(chunks)

    async def _event(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("closed without an answer")
            if isinstance(event, h11.Event):
                return event
            self._http.receive_data(await self._reader.read(READ_BYTES))


@asynccontextmanager
async def _connection(target: Target, address: str) -> AsyncIterator[_Exchange]:
    tls = ssl.create_default_context() if target.scheme == "https" else None
    reader, writer = await asyncio.open_connection(
        address, target.port, ssl=tls, server_hostname=target.host if tls else None, limit=READ_BYTES
    )
    try:
        yield _Exchange(reader, writer)
    finally:
        # Not awaited: a peer that never answers our closing must not hold the request.
        writer.transport.abort()
