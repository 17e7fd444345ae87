"""Many connections that hold on to a listener: a process of its own, for its own open files. Loopback only.

Usage: ``python -m tests.fakes.slow_crowd PORT COUNT KIND [KIND ...]``, kinds in turn. It opens COUNT connections, says
"there", and from then on sends each a byte now and then and opens again what was closed, until standard input ends or
LIFETIME_S are over. Then it prints how many are still there and how many were closed on it.
"""

import contextlib
import errno
import resource
import select
import socket
import struct
import sys
import time

LIFETIME_S = 290.0
# Below the listener's backlog: a connection that does not fit into it would wait a second for its next try.
BATCH = 100
BYTE_EVERY_S = 2.0
# Between batches, so that the listener comes to accept.
PAUSE_S = 0.01
# Once all were there: what is closed comes back some hundred times a second, and the cores are not the crowd's alone.
PAUSE_AFTERWARDS_S = 0.25
# Ends with a reset, so that no port stays in TIME_WAIT.
NO_LINGER = struct.pack("ii", 1, 0)
POST = b"POST /v1/devices/slow/images HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
BEGINNINGS = {
    "silent": b"",
    "header": b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "body": POST + b"Content-Length: 8000000\r\n\r\n\xff\xd8\xff",
    # A TLS record that announces 512 bytes of ClientHello, and one of its bytes.
    "tls": b"\x16\x03\x01\x02\x00\x01",
    "chunked": POST + b"Transfer-Encoding: chunked\r\n\r\n6000\r\n" + bytes(16384),
}


class Crowd:
    """``count`` connections of these kinds."""

    def __init__(self, port: int, count: int, kinds: list[str]) -> None:
        self._port = port
        self._count = count
        self._kinds = kinds
        self._open: dict[int, socket.socket] = {}
        self._poll = select.poll()
        self.opened = 0
        self.closed = 0

    def __len__(self) -> int:
        return len(self._open)

    def fill(self) -> None:
        """Open what is missing, at most a batch."""
        for _ in range(min(BATCH, self._count - len(self._open))):
            one = socket.socket()
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            if one.connect_ex(("127.0.0.1", self._port)) not in {0, errno.EINPROGRESS}:
                one.close()
                return
            self._open[one.fileno()] = one
            self._poll.register(one, select.POLLOUT | select.POLLIN)

    def move(self) -> None:
        """Greet on what has connected, and forget what was closed."""
        for descriptor, event in self._poll.poll(20):
            one = self._open[descriptor]
            if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._forget(descriptor)
            elif event & select.POLLOUT:
                self._poll.modify(one, select.POLLIN)
                with contextlib.suppress(OSError):
                    one.send(BEGINNINGS[self._kinds[self.opened % len(self._kinds)]])
                self.opened += 1

    def dribble(self) -> None:
        """Send a byte each, but on those that say nothing."""
        for descriptor, one in list(self._open.items()):
            if "silent" not in self._kinds:
                try:
                    one.send(b"x")
                except BlockingIOError:
                    pass
                except OSError:
                    self._forget(descriptor)

    def _forget(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._open.pop(descriptor).close()
        self.closed += 1


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(port: int, count: int, kinds: list[str]) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = Crowd(port, count, kinds)
    give_up_at = time.monotonic() + LIFETIME_S
    dribble_at = time.monotonic() + BYTE_EVERY_S
    stdin = select.poll()
    stdin.register(sys.stdin, select.POLLIN | select.POLLHUP)
    told = False
    while time.monotonic() < give_up_at and not stdin.poll(0):
        crowd.fill()
        crowd.move()
        time.sleep(PAUSE_AFTERWARDS_S if told else PAUSE_S)
        if not told and crowd.opened >= count:
            told = True
            say("there")
        if time.monotonic() > dribble_at:
            crowd.dribble()
            dribble_at = time.monotonic() + BYTE_EVERY_S
    say(f"{len(crowd)} {crowd.closed}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
