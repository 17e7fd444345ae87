"""A camera that only answers a snapshot URL, as cheap firmware does: any login, and any of the awkward forms.

It is written from RFC 2617, 7616 and 9112 and from what cameras were seen to send, and shares no code with the adapter
that asks it, so that one mistake is not made twice. ``/snapshot.jpg`` answers with one picture; every other path is
404. Each request sees the next picture, but for ``Form.FROZEN``.
"""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import re
import secrets
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

PATH = "/snapshot.jpg"
HEAD_BYTES_MAX = 16 * 1024
# How long a slow camera takes for each of the pieces of its picture.
SLOW_PIECE_S = 0.5
SLOW_PIECES = 6
_BOUNDARY = "boundarydonotcross"
_REALM = "Camera"


class Form(StrEnum):
    """How an answer is written."""

    PLAIN = "plain"
    HTTP10 = "http10"  # no length, the connection ends the picture
    BARE_LF = "bare-lf"
    BAD_HEADER = "bad-header"  # a line without a colon, as GoAhead's cameras send
    NO_LENGTH = "no-length"  # and the connection stays open
    WRONG_LENGTH = "wrong-length"
    CHUNKED = "chunked"
    GZIP = "gzip"
    MJPEG = "mjpeg"
    FROZEN = "frozen"  # the same picture for ever
    SLOW = "slow"
    DEAD = "dead"  # takes the connection and says nothing


class Auth(StrEnum):
    """What it asks for."""

    NONE = "none"
    BASIC = "basic"
    DIGEST = "digest"  # MD5, qop auth
    DIGEST_2069 = "digest-2069"  # MD5 without qop
    DIGEST_SHA256 = "digest-sha256"
    DIGEST_SESS = "digest-sess"
    DIGEST_INT = "digest-int"  # MD5, qop auth-int alone
    DIGEST_SLOPPY = "digest-sloppy"  # parameters without quotes, an algorithm in lower case


_CHALLENGES = {
    Auth.BASIC: 'Basic realm="{realm}"',
    Auth.DIGEST: 'Digest realm="{realm}", qop="auth,auth-int", nonce="{nonce}", opaque="5ccc", stale="{stale}"',
    Auth.DIGEST_2069: 'Digest realm="{realm}", nonce="{nonce}", stale={stale}',
    Auth.DIGEST_SHA256: 'Digest realm="{realm}", qop="auth", algorithm=SHA-256, nonce="{nonce}", stale={stale}',
    Auth.DIGEST_SESS: 'Digest realm="{realm}", qop="auth", algorithm=MD5-sess, nonce="{nonce}", stale={stale}',
    Auth.DIGEST_INT: 'Digest realm="{realm}", qop="auth-int", nonce="{nonce}", stale={stale}',
    Auth.DIGEST_SLOPPY: "digest Realm={realm}, QOP=auth, Algorithm=md5 , nonce = {nonce},stale={stale}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotCameraOptions:
    """``nonce_uses``: after so many pictures a nonce is stale; 0: never. ``tls``: serves https."""

    host: str = "127.0.0.1"
    port: int = 0
    form: Form = Form.PLAIN
    auth: Auth = Auth.NONE
    username: str = "admin"
    password: str = ""
    nonce_uses: int = 0
    tls: ssl.SSLContext | None = None


@dataclass(slots=True)
class SnapshotCamera:
    """An async context manager; ``served`` counts pictures, ``refused`` logins that were not right."""

    options: SnapshotCameraOptions
    pictures: Iterator[bytes]
    tell: Callable[[str], None] = lambda _: None
    port: int = 0
    served: int = 0
    refused: int = 0
    _nonces: dict[str, int] = field(default_factory=dict)
    _frozen: bytes = b""
    _drawing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _server: asyncio.Server | None = None
    _serving: set["asyncio.Task[None]"] = field(default_factory=set)

    @property
    def url(self) -> str:
        scheme = "http" if self.options.tls is None else "https"
        return f"{scheme}://{self.options.host}:{self.port}{PATH}"

    async def __aenter__(self) -> "SnapshotCamera":
        options = self.options
        self._server = await asyncio.start_server(self._connected, options.host, options.port, ssl=options.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._serving.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        target = head.split(" ", 2)[1]
        if self.options.form is Form.DEAD:
            await reader.read()
            return
        if target.partition("?")[0] != PATH:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif (challenge := self._challenge(head, target)) is not None:
            body = b"<html>Unauthorized</html>"
            answer = (
                f"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(answer.encode() + body)
        else:
            await self._show(writer)
            if self.options.form in {Form.NO_LENGTH, Form.MJPEG}:
                await reader.read()
        await writer.drain()

    # --- pictures ---

    async def _show(self, writer: asyncio.StreamWriter) -> None:
        async with self._drawing:  # two may ask at once, and an iterator takes one at a time
            picture = self._frozen or await asyncio.to_thread(next, self.pictures)
        if self.options.form is Form.FROZEN:
            self._frozen = picture
        data = written(self.options.form, picture)
        step = -(-len(data) // SLOW_PIECES) if self.options.form is Form.SLOW else len(data)
        for begin in range(0, len(data), step):
            writer.write(data[begin : begin + step])
            await writer.drain()
            if self.options.form is Form.SLOW:
                await asyncio.sleep(SLOW_PIECE_S)
        self.served += 1
        self.tell(f"picture {self.served}, {len(picture)} bytes, {self.options.form}")

    # --- logins ---

    def _challenge(self, head: str, target: str) -> str | None:
        """Return what is asked for, or None when the request has it."""
        auth = self.options.auth
        if auth is Auth.NONE:
            return None
        found = re.search(r"^authorization:[ \t]*(.*?)\r?$", head, re.IGNORECASE | re.MULTILINE)
        given = found[1] if found else ""
        stale = False
        if auth is Auth.BASIC:
            pair = f"{self.options.username}:{self.options.password}"
            if given == f"Basic {base64.b64encode(pair.encode()).decode()}":
                return None
        elif given.startswith("Digest "):
            fields = {name.lower(): quoted or plain for name, quoted, plain in _FIELDS.findall(given)}
            is_right = self._is_right(fields, target)
            stale = is_right and not self._is_fresh(fields)
            if is_right and not stale:
                return None
        if given and not stale:
            self.refused += 1
            self.tell("a login that is not right")
        nonce = secrets.token_hex(16)
        self._nonces[nonce] = 0
        return _CHALLENGES[auth].format(realm=_REALM, nonce=nonce, stale="TRUE" if stale else "FALSE")

    def _is_right(self, fields: dict[str, str], target: str) -> bool:
        """Compute RFC 7616 section 3.4.1, or RFC 2069, from the request's own fields."""
        auth = self.options.auth
        hashed = hashlib.sha256 if auth is Auth.DIGEST_SHA256 else _md5

        def h(text: str) -> str:
            return hashed(text.encode()).hexdigest()

        nonce, cnonce = fields.get("nonce", ""), fields.get("cnonce", "")
        secret = h(f"{self.options.username}:{_REALM}:{self.options.password}")
        if auth is Auth.DIGEST_SESS:
            secret = h(f"{secret}:{nonce}:{cnonce}")
        qop = {Auth.DIGEST_2069: "", Auth.DIGEST_INT: "auth-int"}.get(auth, "auth")
        asked = h(f"GET:{target}:{h('')}" if qop == "auth-int" else f"GET:{target}")
        middle = f"{nonce}:{fields.get('nc', '')}:{cnonce}:{qop}" if qop else nonce
        has_form = fields.get("qop", "") == qop
        return has_form and fields.get("uri") == target and fields.get("response") == h(f"{secret}:{middle}:{asked}")

    def _is_fresh(self, fields: dict[str, str]) -> bool:
        """Tell whether the nonce is ours, not used up, and counted up where it is counted."""
        uses = self._nonces.get(fields["nonce"])
        if uses is None or (self.options.nonce_uses and uses >= self.options.nonce_uses):
            return False
        count = int(fields["nc"], 16) if "nc" in fields else uses + 1
        if count <= uses:
            return False
        self._nonces[fields["nonce"]] = count
        return True


_FIELDS = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


def _md5(data: bytes) -> "hashlib._Hash":
    return hashlib.md5(data, usedforsecurity=False)


def written(form: Form, picture: bytes) -> bytes:
    """Return an answer with one picture (of a stream: its first two parts) in the form asked for."""
    length = f"Content-Length: {len(picture)}"
    heads = {
        Form.HTTP10: _head("Pragma: no-cache", first="HTTP/1.0 200 OK"),
        Form.BARE_LF: _head(length, end="\n"),
        Form.BAD_HEADER: _head("Server: GoaHead", "Tue, 12 Jun 2012 01:56:34 GMT", length),
        Form.NO_LENGTH: _head("Connection: keep-alive"),
        Form.WRONG_LENGTH: _head(f"Content-Length: {len(picture) - 48}"),
        Form.CHUNKED: _head("Transfer-Encoding: chunked"),
        Form.GZIP: _head("Content-Encoding: gzip"),
        Form.MJPEG: _head(first="HTTP/1.0 200 OK", kind=f"multipart/x-mixed-replace;boundary={_BOUNDARY}"),
    }
    return heads.get(form, _head(length)) + _body(form, picture)


def _body(form: Form, picture: bytes) -> bytes:
    if form is Form.CHUNKED:
        return b"".join(_chunk(picture[at : at + 4096]) for at in range(0, len(picture), 4096)) + _chunk(b"")
    if form is Form.GZIP:
        return gzip.compress(picture)
    if form is Form.MJPEG:
        part = _head(f"Content-Length: {len(picture)}", first=f"--{_BOUNDARY}") + picture + b"\r\n"
        return part + part
    return picture


def _head(*lines: str, first: str = "HTTP/1.1 200 OK", end: str = "\r\n", kind: str = "image/jpeg") -> bytes:
    return (end.join([first, f"Content-Type: {kind}", *lines]) + 2 * end).encode()


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
