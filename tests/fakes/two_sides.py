"""A site with two networks, made of network namespaces: devices | gateway | cloud, joined by two cables and no router.

Addresses: the device is 10.77.1.2 and the gateway 10.77.1.1 on "site0"; the gateway 10.77.2.1 on "up0" and the cloud
10.77.2.2. Device and cloud send everything to the gateway, as if it were their router. Everything is removed again.
"""

import ctypes
import http.server
import os
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import pytest

from tests.conftest import MISSING_PACKAGE

T = TypeVar("T")

DEVICE, GATEWAY_SITE, GATEWAY_UP, CLOUD = "10.77.1.2", "10.77.1.1", "10.77.2.1", "10.77.2.2"
# Another device of the site, behind the same cable.
NEIGHBOUR = "10.77.1.9"
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_FORWARDING = ("ipv4/ip_forward", "ipv4/conf/*/forwarding", "ipv6/conf/*/forwarding", "ipv4/conf/*/proxy_arp")


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network of its own."""

    name: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command starts with to run in it."""
        return ("ip", "netns", "exec", self.name)

    def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns in a thread of this network. Sockets and threads made there stay in it."""
        done: Future[T] = Future()

        def enter() -> None:
            try:
                with Path(f"/run/netns/{self.name}").open() as file:
                    if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        thread = threading.Thread(target=enter, name=f"in-{self.name}")
        thread.start()
        thread.join()
        return done.result(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoSides:
    """The three networks."""

    devices: Namespace
    gateway: Namespace
    cloud: Namespace

    def forwarding(self) -> Mapping[str, str]:
        """Return every setting of the gateway's kernel by which it would pass on packets."""

        def read() -> dict[str, str]:
            root = Path("/proc/sys/net")
            return {str(path): path.read_text().strip() for one in _FORWARDING for path in sorted(root.glob(one))}

        return self.gateway.run(read)

    def set_forwarding(self, *, on: bool) -> None:
        """Make the gateway's kernel a router, or none."""
        self.gateway.run(lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text(str(int(on))))


@contextmanager
def two_sides() -> Iterator[TwoSides]:
    """Make the networks. Skips where this machine does not let us."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip(f"{MISSING_PACKAGE} iproute2, and root, for network namespaces")
    sides = TwoSides(
        devices=Namespace(f"gwb-{os.getpid()}-devices"),
        gateway=Namespace(f"gwb-{os.getpid()}-gateway"),
        cloud=Namespace(f"gwb-{os.getpid()}-cloud"),
    )
    made = []
    try:
        for one in (sides.devices, sides.gateway, sides.cloud):
            if subprocess.run(["ip", "netns", "add", one.name], check=False, capture_output=True).returncode:
                pytest.skip(f"{MISSING_PACKAGE} the right to make network namespaces (CAP_SYS_ADMIN)")
            made.append(one)
            _ip(one, "link set lo up")
        _cable(sides.gateway, "site0", GATEWAY_SITE, sides.devices, DEVICE)
        _cable(sides.gateway, "up0", GATEWAY_UP, sides.cloud, CLOUD)
        _ip(sides.devices, f"addr add {NEIGHBOUR}/24 dev eth0")
        sides.set_forwarding(on=False)  # a new network may inherit it from a machine with Docker
        yield sides
    finally:
        for one in made:
            subprocess.run(["ip", "netns", "del", one.name], check=False)


def _ip(where: Namespace, command: str) -> None:
    subprocess.run(["ip", "-n", where.name, *command.split()], check=True)


def _cable(near: Namespace, interface: str, address: str, far: Namespace, far_address: str) -> None:
    _ip(near, f"link add {interface} type veth peer name eth0 netns {far.name}")
    _ip(near, f"addr add {address}/24 dev {interface}")
    _ip(near, f"link set {interface} up")
    _ip(far, f"addr add {far_address}/24 dev eth0")
    _ip(far, "link set eth0 up")
    _ip(far, f"route add default via {address}")


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    # HTTPServer would look up its own name, and there is no name server here.
    daemon_threads = True
    allow_reuse_address = True


class PlainServer:
    """A web server inside a network that answers every GET the same and notes who asked."""

    def __init__(
        self, where: Namespace, address: tuple[str, int], answer: Callable[[], tuple[int, str, bytes]]
    ) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Answering(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.client_address[0])
                status, location, body = answer()
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = where.run(lambda: _Server(address, Answering))
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
