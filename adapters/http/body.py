"""A request's body, read by hand: bounded while it arrives, counted against the intake, and drained on a refusal.

Invariants: no byte beyond the cap is kept, and none that the reservation has not granted.
"""

from collections.abc import Callable
from typing import Protocol

from starlette.requests import ClientDisconnect, Request

from gateway.errors import PayloadTooLarge, RequestInvalid
from gateway.ports import Reservation

# A client that writes its whole body before it reads sees our answer only if we take the body; beyond this we hang up.
# Four pictures of the default cap: what a phone sends by mistake, and a second of a slow core's loopback.
DRAIN_BYTES_MAX = 32 * 1024 * 1024


class Sink(Protocol):
    """What takes the chunks of a body."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; raises Rejected if they can't be right."""


class Body:
    """The body of one request. ``received_bytes`` counts what has arrived so far.

    ``source`` is the address that it comes from, ``give_way`` ends its connection with 503 (protocol.py).
    """

    def __init__(self, request: Request) -> None:
        headers = request.headers
        length = headers.get("content-length", "")
        # h11 has validated both fields: digits only, and never both.
        self._is_chunked = "transfer-encoding" in headers
        self.declared_bytes = int(length) if length and not self._is_chunked else None
        self.received_bytes = 0
        self.source = request.client.host if request.client else ""
        self.give_way: Callable[[], None] | None = request.scope.get("state", {}).get("give_way")
        # RFC 9110 section 10.1.1: an HTTP/1.0 client's expectation is ignored, by h11 too.
        is_1_0 = request.scope.get("http_version") == "1.0"
        self._expects_continue = not is_1_0 and headers.get("expect", "").lower() == "100-continue"
        self._receive = request.receive
        self._ended = False

    def check_allowed(self, method: str) -> None:
        """Raise RequestInvalid for a GET that brings a body: a device that sends its picture so learns of it."""
        if method in {"GET", "HEAD"} and (self.declared_bytes or self._is_chunked):
            raise RequestInvalid(f"a {method} has no body", hint="send the picture with POST or PUT, to /image")

    def check_declared(self, bytes_max: int) -> None:
        """Raise PayloadTooLarge if the request announces more than ``bytes_max``, before anything is read."""
        if self.declared_bytes is not None and self.declared_bytes > bytes_max:
            raise PayloadTooLarge(f"the body has {self.declared_bytes} bytes; at most {bytes_max} are taken")

    async def read_into(self, sink: Sink, *, bytes_max: int, reservation: Reservation) -> None:
        """Feed the whole body to ``sink``. ``reservation`` already holds the declared length, if there is one.

        Raises PayloadTooLarge, IntakeFull, ClientDisconnect, and what the sink raises.
        """
        while not self._ended:
            chunk = await self._next()
            if self.received_bytes > bytes_max:
                raise PayloadTooLarge(f"the body has more than {bytes_max} bytes")
            if chunk:
                if self.declared_bytes is None:
                    reservation.grow(len(chunk))
                sink.feed(chunk)
        reservation.complete()

    async def drain(self) -> bool:
        """Read and drop what is left, so that the client gets to reading; False if that is too much to take.

        A client that waits for ``100 Continue`` sends nothing until it is asked: there is nothing to drain.
        """
        if self._expects_continue and not self.received_bytes:
            return True
        if (self.declared_bytes or 0) > DRAIN_BYTES_MAX:
            return False
        while not self._ended:
            if self.received_bytes > DRAIN_BYTES_MAX:
                return False
            await self._next()
        return True

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._ended = True
            raise ClientDisconnect
        self._ended = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        self.received_bytes += len(chunk)
        return chunk
