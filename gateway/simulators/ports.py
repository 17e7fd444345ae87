"""Ports for programs that stop and start again on the same one."""

import random
import socket

# Below what Linux hands out by itself (32768 and up): while a program is down no stranger's connection takes its port.
FIRST, LAST = 20_000, 32_000


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    while True:
        port = random.randrange(FIRST, LAST)  # noqa: S311  not a secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
