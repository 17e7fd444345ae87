"""The two directions of one device's socket: when to read, and how much may wait to be read by the device.

Does nothing before ``attach`` and after ``detach``. Memory: ``WRITE_BUFFER_BYTES_MAX``, and the kernel's buffers.
"""

import asyncio
import socket

from gateway.networks import is_in
from gateway.settings.section import Network

# 200 results that the device has not read, or 60,000 PUBACKs.
WRITE_BUFFER_BYTES_MAX = 256 * 1024


class Wire:
    """What a link needs of its transport."""

    __slots__ = ("_transport", "peer", "reading")

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self.peer = ""
        self.reading = True

    def attach(self, transport: asyncio.Transport) -> None:
        """Begin. Lets the kernel find peers that vanished: a client may connect with a keep-alive of none."""
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else ""
        plug = transport.get_extra_info("socket")
        if plug is not None:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def detach(self) -> None:
        """End: the transport is gone."""
        self._transport = None

    def comes_from(self, networks: tuple[Network, ...]) -> bool:
        """Tell whether the peer's address is in one of ``networks``."""
        return is_in(self.peer, networks)

    def write(self, data: bytes) -> bool:
        """Send ``data``; False, and cut, when the device has left too much unread."""
        transport = self._transport
        if not data or transport is None or transport.is_closing():
            return True
        if transport.get_write_buffer_size() + len(data) > WRITE_BUFFER_BYTES_MAX:
            transport.abort()
            return False
        transport.write(data)
        return True

    @property
    def unread_bytes(self) -> int:
        """What was sent and has not left for the device."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def read_on(self, *, wanted: bool) -> bool:
        """Read, or read no more; True when reading begins again."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        begins = wanted and not self.reading
        if begins:
            transport.resume_reading()
        elif self.reading and not wanted:
            transport.pause_reading()
        self.reading = wanted
        return begins

    def close(self) -> None:
        """End after what is still to be sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()
