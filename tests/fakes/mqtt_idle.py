"""Many devices that connect to the listener and then say nothing: a process of its own, for its own open files.

Usage: ``python -m tests.fakes.mqtt_idle PORT COUNT``. Prints "connected" when all were accepted. When standard input
ends it prints how many connections the listener has ended meanwhile, and cuts the others.
"""

import resource
import select
import socket
import struct
import sys
from collections.abc import Sequence

# Below the listener's backlog: a connection that does not fit into it would wait a second for its next try.
BATCH = 400
# Accepted, no session (MQTT 3.1.1 section 3.2).
CONNACK = b"\x20\x02\x00\x00"
# Ends with a reset, so that no port stays in TIME_WAIT.
NO_LINGER = struct.pack("ii", 1, 0)


def connect_packet(client_id: bytes) -> bytes:
    """Return a CONNECT of 3.1.1: clean session, no keep-alive, so that silence is allowed for ever."""
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + struct.pack("!H", len(client_id)) + client_id
    return bytes((0x10, len(body))) + body


def connected(port: int, numbers: range) -> list[socket.socket]:
    """Return connections that were accepted."""
    opened = []
    for number in numbers:
        device = socket.create_connection(("127.0.0.1", port))
        device.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        device.sendall(connect_packet(b"idle-%d" % number))
        opened.append(device)
    for device in opened:
        answer = device.recv(len(CONNACK))
        assert answer == CONNACK, answer
    return opened


def ended(devices: Sequence[socket.socket]) -> int:
    """Return how many connections are no longer there, or were sent something unasked."""
    poll = select.poll()
    for device in devices:
        poll.register(device, select.POLLIN)
    return len(poll.poll(0))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(port: int, count: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    devices: list[socket.socket] = []
    for start in range(0, count, BATCH):
        devices += connected(port, range(start, min(start + BATCH, count)))
    say("connected")
    sys.stdin.read()
    say(str(ended(devices)))
    for device in devices:
        device.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
