"""One device connection: uvicorn's h11 protocol with deadlines, caps and the spelling of weak clients put right.

Stock uvicorn keeps slow headers, idle connections and slow bodies open for ever and answers lower-case methods and
absolute-form targets with 400 or 404. Here a connection is always in one phase, and each phase but WORK has a deadline
(WORK ends by the intake's own). A connection that we end with words is half-closed and drained for a moment: closing at
once would reset it, and the client would lose the answer.

Relies on uvicorn's H11Protocol: data_received, on_response_complete, send_400_response, shutdown, and the attributes
conn, cycle, flow, transport, connections. tests/integration/test_http_limits.py is the canary for each.
"""

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from adapters.http.admission import CERTIFIED
from adapters.http.connection import TolerantConnection
from gateway.holders import Holders
from gateway.networks import is_in
from gateway.ports import Meter
from gateway.tls.identity import device_of_certificate

# After an early answer the client may go on sending: as much as is drained in body.py, then we hang up.
DISCARD_BYTES_MAX = 32 * 1024 * 1024
# How long a client gets to read our last words.
PARTING_S = 2.0
# Connections that are told why they go; beyond these we hang up without words.
PARTING_MAX = 64
RETRY_AFTER_S = 1


class Phase(Enum):
    """Where a connection stands; the value is the metric's reason when its deadline passes."""

    HEADER = "header_timeout"
    BODY = "body_timeout"
    WORK = "work"
    IDLE = "idle_timeout"
    PARTING = "parting"


# The order in which connections are given up (holders.py); not while the work goes on.
_GIVES_UP = {Phase.HEADER: 0, Phase.IDLE: 1, Phase.BODY: 2}


@dataclass(slots=True, kw_only=True)
class Guard:
    """What the connections of one listener share: their limits, and who is on the way out."""

    header_timeout_s: float
    body_timeout_s: float
    idle_timeout_s: float
    connections_max: int
    meter: Meter | None = None  # None on the admin face: its connections are not devices
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()  # empty: whoever reaches the listener
    parting: set["DeviceProtocol"] = field(default_factory=set)
    holders: "Holders[DeviceProtocol]" = field(default_factory=Holders)

    def allows(self, peer: tuple[str, int] | None) -> bool:
        """Tell whether a peer's address is in one of the allowed networks."""
        return not self.allowed_networks or (peer is not None and is_in(peer[0], self.allowed_networks))

    def count_refused(self, reason: str) -> None:
        """Count a connection that we ended."""
        if self.meter is not None:
            self.meter.count("gateway_http_connections_refused_total", reason=reason)

    def level_open(self, count: int) -> None:
        """Tell how many connections are open."""
        if self.meter is not None:
            self.meter.level("gateway_http_connections", count)

    def timeout_s(self, phase: Phase) -> float | None:
        """Return how long a connection may stay in ``phase``; None for as long as the work takes."""
        return {
            Phase.HEADER: self.header_timeout_s,
            Phase.BODY: self.body_timeout_s,
            Phase.IDLE: self.idle_timeout_s,
            Phase.PARTING: PARTING_S,
            Phase.WORK: None,
        }[phase]


class DeviceProtocol(H11Protocol):
    """One connection. Built by uvicorn for every socket that it accepts."""

    conn: TolerantConnection

    def __init__(self, *args: Any, guard: Guard, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = TolerantConnection()
        # uvicorn's own idle timer runs beside ours and would be the shorter one (5 s).
        self.timeout_keep_alive = int(guard.idle_timeout_s) + 1
        self.app_state = {"give_way": self.give_way}  # uvicorn hands it to each request as scope["state"]
        self._guard = guard
        self._stage: tuple[Phase, int] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._parting_bytes = 0

    @property
    def is_begun(self) -> bool:
        """Whether it has its connection: with TLS, after the handshake (gateway/tls/door.py)."""
        begun: asyncio.Transport | None = self.transport  # None before, whatever uvicorn declares
        return begun is not None

    # --- what asyncio and uvicorn call ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection, or tell it to come again when the cap is reached."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows it as asyncio delivers it
        certified = device_of_certificate(transport.get_extra_info("peercert"))
        if certified is not None:
            self.app_state[CERTIFIED] = certified
        self._guard.level_open(len(self.connections))
        if not self._guard.allows(transport.get_extra_info("peername")):
            self._guard.count_refused("network")
            self._part(403, "this listener serves the networks of http.allowed_networks only")
        elif self._finds_a_place():
            self._follow_phase()
        else:
            self._guard.count_refused("connection_cap")
            self._part(503, "too many connections: retry later", retry_after_s=RETRY_AFTER_S)

    def _finds_a_place(self) -> bool:
        """Take a place, somebody else's if need be (holders.py)."""
        self._guard.holders.add(self._address, self)
        if len(self.connections) <= self._guard.connections_max:
            return True
        other = self._guard.holders.one_to_give_up_for(self._address)
        if other is None:
            return False
        other.give_way()
        return True

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def gives_up(self) -> int | None:
        """Return how readily this connection is given up for another address (holders.py)."""
        # Closed by us, and through TLS its client has yet to say that it is: some never do.
        return 0 if self.transport.is_closing() else _GIVES_UP.get(self._phase())

    def give_way(self) -> None:
        """Leave to another address; whoever was sending is told to come again."""
        self._guard.count_refused("gave_way")
        if self._phase() is Phase.BODY:
            self._part(503, "busy: others have come meanwhile; send the same again", retry_after_s=RETRY_AFTER_S)
        else:
            self._leave_place()
            self.transport.abort()

    def _leave_place(self) -> None:
        self.connections.discard(self)
        self._guard.holders.discard(self._address, self)

    def data_received(self, data: bytes) -> None:
        """Feed h11, unless the connection is on its way out."""
        if self._is_parting:
            self._parting_bytes += len(data)
            if self._parting_bytes > DISCARD_BYTES_MAX:
                self.transport.abort()
            return
        super().data_received(data)
        if self.conn.discarded_bytes > DISCARD_BYTES_MAX:
            self._guard.count_refused("discard_cap")
            self.transport.abort()
        self._follow_phase()

    def on_response_complete(self) -> None:
        """Start the next phase, or make sure that a closing connection does close."""
        super().on_response_complete()
        self._follow_phase()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        """Answer what h11 could not read: 400, 431 for a large header, 501 for an unknown transfer coding."""
        self._guard.count_refused("header_size" if self.conn.error_status == 431 else "bad_request")
        told = "request header fields too large"
        if self.conn.error_status != 431:
            told = f"this is not HTTP/1.1: {self.conn.error_text}"
        self._part(self.conn.error_status, told)

    def pause_writing(self) -> None:
        """Give a client that does not read its answers as long as one that does not send its body."""
        super().pause_writing()
        self._write_deadline = self.loop.call_later(self._guard.body_timeout_s, self._write_deadline_passed)

    def resume_writing(self) -> None:
        """Forget the deadline: the client reads."""
        self._cancel_write_deadline()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._cancel_deadline()
        self._cancel_write_deadline()
        self._guard.parting.discard(self)
        self._guard.holders.discard(self._address, self)
        self.app_state = {}  # a circle otherwise: it holds a method of ours
        super().connection_lost(exc)
        self._guard.level_open(len(self.connections))

    def shutdown(self) -> None:
        """Close now if nothing is under way, else after the answer."""
        if self.transport.is_closing() or self._is_parting:
            self.transport.abort()
        else:
            super().shutdown()

    def put_off(self) -> None:
        """Tell a client whose request is still under way that the gateway is stopping; drop one that has none."""
        if self._is_parting:
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_started:
            self._part(503, "stopping: the gateway is stopping; send the same again", retry_after_s=RETRY_AFTER_S)

    # --- phases -----------------------------------------------------------------------------------------

    @property
    def _is_parting(self) -> bool:
        return self._stage is not None and self._stage[0] is Phase.PARTING

    def _phase(self) -> Phase:
        if self.transport.is_closing():
            return Phase.PARTING
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.BODY
        if self.conn.their_state is h11.IDLE:
            between = self.conn.requests_seen and not self.conn.trailing_data[0]
            return Phase.IDLE if between else Phase.HEADER
        return Phase.WORK

    def _follow_phase(self) -> None:
        """Arm the deadline of the phase that the connection is in, unless it is armed already."""
        if self._is_parting:
            return
        stage = (self._phase(), self.conn.requests_seen)
        if stage != self._stage:
            self._enter(stage)

    def _enter(self, stage: tuple[Phase, int]) -> None:
        self._cancel_deadline()
        self._stage = stage
        timeout_s = self._guard.timeout_s(stage[0])
        if timeout_s is not None:
            self._deadline = self.loop.call_later(timeout_s, self._deadline_passed, stage[0])

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cancel_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _write_deadline_passed(self) -> None:
        self._guard.count_refused("write_timeout")
        self.transport.abort()

    def _deadline_passed(self, phase: Phase) -> None:
        if phase is Phase.PARTING:
            self.transport.abort()
            return
        self._guard.count_refused(phase.value)
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn declares
        answering = cycle is not None and cycle.response_started
        if phase is Phase.BODY and not answering:
            self._part(408, "the body took too long")
        elif phase is Phase.HEADER and self.conn.trailing_data[0]:
            self._part(408, "the header took too long")
        elif self.transport.get_write_buffer_size():
            self.transport.abort()  # a client that does not read would keep a polite close waiting
        else:
            self.transport.close()

    def _part(self, status: int, text: str, *, retry_after_s: int | None = None) -> None:
        """Say the last words, stop writing, and read on for a moment so that they arrive."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self._leave_place()
        if len(self._guard.parting) >= PARTING_MAX:
            self.transport.abort()
            return
        self._guard.parting.add(self)
        self._enter((Phase.PARTING, self.conn.requests_seen))
        self.transport.write(last_words(status, text, retry_after_s))
        if self.transport.can_write_eof():  # not through TLS: there the client's own closing or the deadline ends it
            self.transport.write_eof()
        self.flow.resume_reading()


def last_words(status: int, text: str, retry_after_s: int | None = None) -> bytes:
    """Return a whole answer that closes the connection, for when there is no request to answer."""
    body = f"{status} {text}\n".encode()
    lines = [
        f"HTTP/1.1 {status} {_PHRASES.get(status, 'Bad Request')}",
        "content-type: text/plain; charset=utf-8",
        f"content-length: {len(body)}",
        "connection: close",
        *([] if retry_after_s is None else [f"retry-after: {retry_after_s}"]),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


_PHRASES = {
    403: "Forbidden",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
