"""The sockets that AcquireNotify and AcquireWrite hand out: one packet is one value.

The client's end is ours only until the reply that carries it is on its way: whoever keeps a copy never sees the
client hang up.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable

# What BlueZ reads at once; an ATT value has 512 bytes at most.
PACKET_BYTES_MAX = 1024


class AcquiredSocket:
    """Our end. ``received`` gets what the client sends; ``closed`` is called once when it has hung up."""

    def __init__(self, *, received: Callable[[bytes], None], closed: Callable[[], None]) -> None:
        self._ours, self._clients = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)  # noqa: FBT003  the socket's own signature
        self._received = received
        self._closed = closed
        self._waiting: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._ours, self._read)

    @property
    def client_fd(self) -> int:
        """The client's end, until ``handed_over``."""
        return self._clients.fileno()

    @property
    def backlog(self) -> int:
        """How many values the client has not taken."""
        return len(self._waiting)

    def handed_over(self) -> None:
        """Close our copy of the client's end."""
        self._clients.close()

    def send(self, value: bytes) -> None:
        """Send a value after all that wait."""
        self._waiting.append(value)
        self._flush()

    def close(self) -> None:
        """Hang up."""
        self._clients.close()
        if self._ours.fileno() < 0:
            return
        self._loop.remove_reader(self._ours)
        self._loop.remove_writer(self._ours)
        self._ours.close()
        self._waiting.clear()

    def _flush(self) -> None:
        try:
            while self._waiting:
                self._ours.send(self._waiting[0])
                self._waiting.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._ours, self._flush)
            return
        except OSError:
            self._hung_up()
            return
        self._loop.remove_writer(self._ours)

    def _read(self) -> None:
        value = b""
        with contextlib.suppress(ConnectionError):
            value = self._ours.recv(PACKET_BYTES_MAX)
        if value:
            self._received(value)
        else:
            self._hung_up()

    def _hung_up(self) -> None:
        self.close()
        self._closed()
