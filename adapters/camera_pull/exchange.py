"""One request and its answer, on one connection to an address that was checked.

Written and read here rather than by httpx or h11: docs/PROTOCOLS-pull.md lists the answers of real cameras that these
refuse. Holds a connection's buffers (``READ_BYTES`` twice) and the head; the picture is counted by who reads it.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from adapters.camera_pull.bodies import PictureReader
from adapters.camera_pull.faults import CameraFault, Reason
from adapters.camera_pull.heads import Head, HeadReader
from adapters.camera_pull.trust import check_fingerprint
from gateway.identifiers import shortened
from gateway.web_targets import Target

READ_BYTES = 64 * 1024
# For what comes behind a Content-Length that was too small; a camera that has sent all closes at once.
OVERDUE_S = 1.0


class Answer:
    """The head of an answer, and the way to its body."""

    def __init__(self, head: Head, begun: bytes, reader: asyncio.StreamReader) -> None:
        self.head = head
        self._begun = begun
        self._reader = reader

    async def picture(self, *, bytes_max: int, grow: Callable[[int], None]) -> bytes:
        """Return the picture. Raises CameraFault, and whatever ``grow`` raises for bytes that find no room."""
        picture = PictureReader(self.head, bytes_max=bytes_max, grow=grow)
        data = self._begun
        while True:
            picture.feed(data)
            if picture.whole:
                break
            if picture.unfinished:
                await asyncio.sleep(0)
                data = b""
                continue
            data = await self._more(overdue=picture.overdue)
            if not data:
                break
        return picture.picture()

    async def _more(self, *, overdue: bool) -> bytes:
        """Return what comes next; nothing at the end."""
        try:
            if not overdue:
                return await self._reader.read(READ_BYTES)
            async with asyncio.timeout(OVERDUE_S) as limit:
                return await self._reader.read(READ_BYTES)
        except TimeoutError:
            if overdue and limit.expired():
                return b""
            raise
        except OSError:  # a reset is an end like another: the picture says whether it is whole
            return b""


@asynccontextmanager
async def asking(
    target: Target, addresses: Sequence[str], *, tls: ssl.SSLContext | None, fingerprint: str, authorization: str
) -> AsyncIterator[Answer]:
    """Ask and wait for the head of the answer; the connection ends with the context. Raises CameraFault."""
    reader, writer = await _connected(target, addresses, tls)
    try:
        if tls is not None and fingerprint:
            check_fingerprint(fingerprint, writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.write(request(target, authorization))
        head, rest = await _head(reader)
        yield Answer(head, rest, reader)
    finally:
        # Not awaited: a peer that never answers our closing must not hold anything.
        writer.transport.abort()


def request(target: Target, authorization: str) -> bytes:
    """Return the bytes of a request: in the order and with the words of browsers, which every camera was tried with."""
    lines = [
        f"GET {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        "User-Agent: gateway-bridge",
        "Accept: image/jpeg, image/*;q=0.9, */*;q=0.5",
        "Accept-Encoding: identity",
        *([f"Authorization: {authorization}"] if authorization else []),
        "Connection: close",
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1")


async def _connected(
    target: Target, addresses: Sequence[str], tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first address that takes it."""
    fault: OSError | None = None
    for address in addresses:
        try:
            return await asyncio.open_connection(
                address, target.port, ssl=tls, server_hostname=target.host if tls else None, limit=READ_BYTES
            )
        except OSError as error:  # ssl.SSLError is one
            fault = error
    assert fault is not None, "_connected() without an address"
    raise _told(target, fault) from fault


def _told(target: Target, error: OSError) -> CameraFault:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = shortened(error.verify_message)
        return CameraFault(
            Reason.CERTIFICATE_REFUSED, f"its certificate is not trusted: {why}; set ca_file or fingerprint"
        )
    if isinstance(error, ssl.SSLError):
        return CameraFault(Reason.TLS_FAILED, f"no TLS with it: {shortened(error.reason or str(error))}")
    if target.scheme == "https" and isinstance(error, ConnectionResetError | ConnectionAbortedError):
        return CameraFault(Reason.TLS_FAILED, "it broke TLS off; an old camera may need legacy_tls = true")
    return CameraFault(
        Reason.NOT_REACHED, f"{target.host}:{target.port}: {shortened(error.strerror or type(error).__name__)}"
    )


async def _head(reader: asyncio.StreamReader) -> tuple[Head, bytes]:
    head_reader = HeadReader()
    while True:
        try:
            data = await reader.read(READ_BYTES)
        except OSError as error:
            raise CameraFault(Reason.NOT_REACHED, "it broke the connection off") from error
        if not data:
            raise CameraFault(Reason.NOT_REACHED, "it closed the connection without an answer")
        head = head_reader.feed(data)
        if head is not None:
            return head, head_reader.rest
