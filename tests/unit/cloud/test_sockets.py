"""Messages leave at once: no socket of the SDK's process waits for company."""

import socket
from pathlib import Path

from gateway.cloud.sockets import send_at_once


def test_every_tcp_socket_sends_at_once_and_no_descriptor_is_left() -> None:
    ours, theirs = socket.socketpair()  # as the one to the gateway
    with (
        ours,
        theirs,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    ):
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        assert send_at_once() >= 2
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
