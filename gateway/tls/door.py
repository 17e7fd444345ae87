"""TLS in front of a device's link: asyncio's, with a small buffer, a count of those that have not finished their
handshake, a word about those that fail, and the certificate that is good when the connection comes.

asyncio keeps a buffer of 256 KiB for each connection, 140 MiB for the 512 that are allowed, and tells a protocol of a
connection only after its handshake, so that sockets that never begin one would not be counted.
"""

import asyncio
from asyncio import sslproto
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from gateway.holders import HANDSHAKES_MAX, Holders
from gateway.networks import is_in
from gateway.ports import TlsSource
from gateway.settings.section import Network

# Two records of TLS (RFC 8446 section 5.1): measured, a connection then costs 45 KiB instead of 272.
TLS_READ_BYTES = 32 * 1024
# Until the handshake is finished: a ClientHello has some 500 bytes, a certificate 1 to 2 KiB, and more comes in pieces.
HANDSHAKE_READ_BYTES = 2 * 1024

# RFC 8446 section 5.1: the type of the record that begins every connection.
TLS_HANDSHAKE = 0x16

# After our close: for the last bytes to leave and the client to say that it has closed too. asyncio's 30 s let clients
# that never say it hold places for as long.
SHUTDOWN_TIMEOUT_S = 5.0

OnEnd = Callable[[str, str, str], None]


class Link(Protocol):
    """What speaks behind TLS: an asyncio.BufferedProtocol."""

    @property
    def is_begun(self) -> bool:
        """Whether it was given its connection."""


class TlsDoor:
    """Decides which sockets of one listener may begin a handshake, and speaks TLS with them.

    At most ``connections_max`` that have finished it, which the links themselves see to, and ``HANDSHAKES_MAX`` more in
    all. A newcomer beyond that ends a handshake that is under way: the oldest of the address that has most of them
    (gateway/holders.py), or of its own when that is the one; never a connection that has finished its own. So nobody's
    half-open handshakes keep others out. ``on_end(reason, detail, peer)`` hears of those that end before their link
    begins. A client that speaks the protocol without TLS is told ``plain_answer``, unless ``plain_networks`` has its
    address: then it is served as it is. Addresses outside ``allowed_networks``, if it lists some, are cut off.
    """

    def __init__(
        self,
        *,
        source: TlsSource,
        handshake_timeout_s: float,
        connections_max: int,
        on_end: OnEnd,
        plain_answer: bytes = b"",
        plain_networks: Sequence[Network] = (),
        allowed_networks: Sequence[Network] = (),
    ) -> None:
        self.source = source
        self.handshake_timeout_s = handshake_timeout_s
        self.on_end = on_end
        self.plain_answer = plain_answer
        self.plain_networks = plain_networks
        self._allowed_networks = allowed_networks
        self.connections: set[_DeviceTls] = set()
        self.handshakes: Holders[_DeviceTls] = Holders()
        self._connections_max = connections_max

    def protocol(self, link: Link) -> asyncio.BaseProtocol:
        """Return what speaks TLS with a socket that was accepted, and plain bytes with ``link``."""
        return _Doorstep(self, link)

    def obstacle(self, peer: str) -> str:
        """Return why ``peer`` may not begin a handshake, after making room for it if need be; empty: it may."""
        if self._allowed_networks and not is_in(peer, self._allowed_networks):
            return "address_not_allowed"
        return "" if self._has_room_for(peer) else "too_many_connections"

    def _has_room_for(self, peer: str) -> bool:
        if len(self.connections) < self._connections_max + HANDSHAKES_MAX:
            return True
        leaving = self.handshakes.one_to_give_up_for(peer) or self.handshakes.oldest_of(peer)
        if leaving is not None:
            leaving.give_way()
        return leaving is not None

    def abort(self) -> None:
        """Cut every connection, also those whose links have not begun."""
        for connection in list(self.connections):
            connection.abort()


class _Doorstep(asyncio.Protocol):
    """A socket whose address is not known yet: asyncio makes the protocols of a burst before it connects the first.

    What is turned away here has cost no buffers and no OpenSSL state.
    """

    def __init__(self, door: TlsDoor, link: Link) -> None:
        self._door = door
        self._link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer = _peer(transport)
        obstacle = self._door.obstacle(peer)
        if obstacle:
            self._door.on_end(obstacle, "", peer)
            transport.abort()
            return
        inside = _DeviceTls(self._door, self._link, peer)
        transport.set_protocol(inside)
        inside.connection_made(transport)


class _DeviceTls(sslproto.SSLProtocol):
    # Read by SSLProtocol; tests/integration/test_mqtt_listener_tls.py notices when it is not any more.
    max_size = HANDSHAKE_READ_BYTES

    def __init__(self, door: TlsDoor, link: Link, peer: str) -> None:
        super().__init__(
            asyncio.get_running_loop(),
            cast("asyncio.Protocol", link),
            door.source.context(),
            None,  # type: ignore[arg-type]  # nobody waits for the handshake
            server_side=True,
            ssl_handshake_timeout=door.handshake_timeout_s,  # type: ignore[arg-type]  # seconds, not only whole ones
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )
        self._door = door
        self._link = link
        self._peer = peer
        self._socket: asyncio.Transport | None = None
        self._heard = False

    def gives_up(self) -> int | None:
        """Return that one unfinished handshake is as good as another (gateway/holders.py)."""
        return 0

    def give_way(self) -> None:
        """Leave to another; whoever was in the middle of a handshake may come again."""
        plain, self._socket = self._socket, None
        assert plain is not None, "it holds a place"
        self._leave()
        super().connection_lost(None)
        # Lets go of its buffers and of OpenSSL's state now: a burst can put out hundreds in one turn of the loop.
        plain.set_protocol(asyncio.Protocol())
        plain.abort()
        detail = "its address had most unfinished TLS handshakes, and all their places were taken"
        self._door.on_end("gave_way", detail, self._peer)

    def _leave(self) -> None:
        self._door.connections.discard(self)
        self._door.handshakes.discard(self._peer, self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._socket = transport
        self._door.connections.add(self)
        self._door.handshakes.add(self._peer, self)
        super().connection_made(transport)

    def buffer_updated(self, nbytes: int) -> None:
        if not self._heard and nbytes and self._socket is not None and self.get_buffer(1)[0] != TLS_HANDSHAKE:
            if is_in(self._peer, self._door.plain_networks):
                self._step_aside(self._socket, bytes(self.get_buffer(1)[:nbytes]))
                return
            if self._door.plain_answer:
                self._socket.write(self._door.plain_answer)
                self._socket.close()
                return
        self._heard = True
        begun_before = self._link.is_begun
        super().buffer_updated(nbytes)
        if self._link.is_begun and not begun_before:
            self.max_size = TLS_READ_BYTES  # type: ignore[misc]  # declared for the class, and read from the instance
            self._door.handshakes.discard(self._peer, self)

    def _step_aside(self, plain: asyncio.Transport, data: bytes) -> None:
        """Leave the socket to the link itself, with what has come so far."""
        self._leave()
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
        self._leave()
        if not self._link.is_begun and self._socket is not None:
            detail = "closed before it was finished" if exc is None else str(exc)
            self._door.on_end("tls_handshake_failed", detail, self._peer)
        super().connection_lost(exc)

    def abort(self) -> None:
        """Cut the connection."""
        if self._socket is not None:
            self._socket.abort()


def _peer(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""
