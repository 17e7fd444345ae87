"""TLS in front of a device's link: asyncio's, with a small buffer, a count of those that have not finished their
handshake, a word about those that fail, and the certificate that is good when the connection comes.

asyncio keeps a buffer of 256 KiB for each connection, 140 MiB for the 512 that are allowed, and tells a protocol of a
connection only after its handshake, so that sockets that never begin one would not be counted.
"""

import asyncio
from asyncio import sslproto
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from gateway.networks import is_in
from gateway.ports import TlsSource
from gateway.settings.section import Network

# Two records of TLS (RFC 8446 section 5.1): measured, a connection then costs 45 KiB instead of 272.
TLS_READ_BYTES = 32 * 1024

# RFC 8446 section 5.1: the type of the record that begins every connection.
TLS_HANDSHAKE = 0x16

OnEnd = Callable[[str, str, str], None]


class Link(Protocol):
    """What speaks behind TLS: an asyncio.BufferedProtocol."""

    @property
    def is_begun(self) -> bool:
        """Whether it was given its connection."""


class TlsDoor:
    """Makes the protocols of one listener, at most ``connections_max`` at a time. ``on_end(reason, detail, peer)``.

    With ``oldest_gives_way`` a newcomer beyond that ends the handshake that has taken longest, if there is one.
    A client that speaks the protocol without TLS is told ``plain_answer``, unless ``plain_networks`` has its address:
    then it is served as it is.
    """

    def __init__(
        self,
        *,
        source: TlsSource,
        handshake_timeout_s: float,
        connections_max: int,
        on_end: OnEnd,
        oldest_gives_way: bool = False,
        plain_answer: bytes = b"",
        plain_networks: Sequence[Network] = (),
    ) -> None:
        self.source = source
        self.handshake_timeout_s = handshake_timeout_s
        self.on_end = on_end
        self.plain_answer = plain_answer
        self.plain_networks = plain_networks
        self.connections: dict[_DeviceTls, None] = {}  # in the order in which they came
        self._connections_max = connections_max
        self._oldest_gives_way = oldest_gives_way

    def protocol(self, link: Link) -> asyncio.BaseProtocol:
        """Return what speaks TLS with a socket that was accepted, and plain bytes with ``link``."""
        return _DeviceTls(self, link) if self.has_room() else _TurnedAway(self)

    def has_room(self) -> bool:
        """Tell whether one more may come, after making room if need be."""
        return len(self.connections) < self._connections_max or self._make_room()

    def _make_room(self) -> bool:
        unfinished = (one for one in self.connections if not one.is_begun)
        oldest = next(unfinished, None) if self._oldest_gives_way else None
        if oldest is not None:
            oldest.abort()
            self.connections.pop(oldest, None)
        return oldest is not None

    def abort(self) -> None:
        """Cut every connection, also those whose links have not begun."""
        for connection in list(self.connections):
            connection.abort()


class _TurnedAway(asyncio.Protocol):
    """One connection too many."""

    def __init__(self, door: TlsDoor) -> None:
        self._door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._door.on_end("too_many_connections", "", _peer(transport))
        transport.abort()


class _DeviceTls(sslproto.SSLProtocol):
    # Read by SSLProtocol; tests/integration/test_mqtt_listener_tls.py notices when it is not any more.
    max_size = TLS_READ_BYTES

    def __init__(self, door: TlsDoor, link: Link) -> None:
        super().__init__(
            asyncio.get_running_loop(),
            cast("asyncio.Protocol", link),
            door.source.context(),
            None,  # type: ignore[arg-type]  # nobody waits for the handshake
            server_side=True,
            ssl_handshake_timeout=door.handshake_timeout_s,  # type: ignore[arg-type]  # seconds, not only whole ones
        )
        self._door = door
        self._link = link
        self._socket: asyncio.Transport | None = None
        self._heard = False

    @property
    def is_begun(self) -> bool:
        """Whether the handshake is finished."""
        return self._link.is_begun

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if not self._door.has_room():  # asyncio makes the protocols of a burst before it connects the first
            self._door.on_end("too_many_connections", "", _peer(transport))
            transport.abort()
            return
        self._socket = transport
        self._door.connections[self] = None
        super().connection_made(transport)

    def buffer_updated(self, nbytes: int) -> None:
        if not self._heard and nbytes and self._socket is not None and self.get_buffer(1)[0] != TLS_HANDSHAKE:
            if is_in(_peer(self._socket), self._door.plain_networks):
                self._step_aside(self._socket, bytes(self.get_buffer(1)[:nbytes]))
                return
            if self._door.plain_answer:
                self._socket.write(self._door.plain_answer)
                self._socket.close()
                return
        self._heard = True
        super().buffer_updated(nbytes)

    def _step_aside(self, plain: asyncio.Transport, data: bytes) -> None:
        """Leave the socket to the link itself, with what has come so far."""
        self._door.connections.pop(self, None)
        self._socket = None
        super().connection_lost(None)  # ends its handshake and its deadline; the socket stays
        link = cast("asyncio.Protocol | asyncio.BufferedProtocol", self._link)
        plain.set_protocol(link)
        link.connection_made(plain)
        if plain.is_closing():
            return
        if isinstance(link, asyncio.Protocol):
            link.data_received(data)
            return
        while data:
            into = memoryview(link.get_buffer(len(data)))
            taken = min(len(into), len(data))
            into[:taken] = data[:taken]
            link.buffer_updated(taken)
            data = data[taken:]

    def connection_lost(self, exc: BaseException | None) -> None:
        self._door.connections.pop(self, None)
        if not self._link.is_begun and self._socket is not None:
            detail = "closed before it was finished" if exc is None else str(exc)
            self._door.on_end("tls_handshake_failed", detail, _peer(self._socket))
        super().connection_lost(exc)

    def abort(self) -> None:
        """Cut the connection."""
        if self._socket is not None:
            self._socket.abort()


def _peer(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""
