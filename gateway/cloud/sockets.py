"""The TCP sockets of the SDK's process, which holds no others than those to the hub.

azure-iot-device and its MQTT library leave Nagle's algorithm on: the last piece of each message waits in the kernel
until the far end has confirmed what was sent before, a round trip away. They offer no way to their socket, so it is
found among the descriptors. Linux only; elsewhere nothing changes.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


def send_at_once() -> int:
    """Turn Nagle's algorithm off on every TCP socket that this process has now, and return how many those are."""
    found = 0
    for connection in _sockets():
        with connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.type is socket.SOCK_STREAM:
                with contextlib.suppress(OSError):  # it was closed meanwhile by its peer
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    found += 1
    return found


def _sockets() -> Iterator[socket.socket]:
    """Yield each socket of this process under a descriptor of its own: options belong to the socket."""
    descriptors: list[int] = []
    with contextlib.suppress(OSError):
        descriptors = [int(entry.name) for entry in _DESCRIPTORS.iterdir()]
    for known in descriptors:
        with contextlib.suppress(OSError):  # no socket, or closed meanwhile by another thread
            descriptor = os.dup(known)
            try:
                connection = socket.socket(fileno=descriptor)
            except OSError:
                os.close(descriptor)
                continue
            yield connection
