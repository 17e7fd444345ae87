"""TLS in front of a device's link: asyncio's, with a small buffer, a count of those that have not finished their
handshake, and a word about those that fail.

asyncio keeps a buffer of 256 KiB for each connection, 140 MiB for the 512 that are allowed, and tells a protocol of a
connection only after its handshake, so that sockets that never begin one would not be counted.
"""

import asyncio
import ssl
from asyncio import sslproto
from collections.abc import Callable
from typing import Protocol, cast

# Two records of TLS (RFC 8446 section 5.1): measured, a connection then costs 45 KiB instead of 272.
TLS_READ_BYTES = 32 * 1024

OnEnd = Callable[[str, str, str], None]


class Link(Protocol):
    """What speaks behind TLS: an asyncio.BufferedProtocol."""

    @property
    def is_begun(self) -> bool:
        """Whether it was given its connection."""


class TlsDoor:
    """Makes the protocols of one listener, at most ``connections_max`` at a time. ``on_end(reason, detail, peer)``."""

    def __init__(
        self, *, context: ssl.SSLContext, handshake_timeout_s: float, connections_max: int, on_end: OnEnd
    ) -> None:
        self.context = context
        self.handshake_timeout_s = handshake_timeout_s
        self.on_end = on_end
        self.connections: set[_DeviceTls] = set()
        self._connections_max = connections_max

    def protocol(self, link: Link) -> asyncio.BaseProtocol:
        """Return what speaks TLS with a socket that was accepted, and plain bytes with ``link``."""
        if len(self.connections) >= self._connections_max:
            return _TurnedAway(self)
        return _DeviceTls(self, link)

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
            door.context,
            None,  # type: ignore[arg-type]  # nobody waits for the handshake
            server_side=True,
            ssl_handshake_timeout=door.handshake_timeout_s,  # type: ignore[arg-type]  # seconds, not only whole ones
        )
        self._door = door
        self._link = link
        self._socket: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._socket = transport
        self._door.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._door.connections.discard(self)
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
