"""The devices' network and the cloud's: the gateway stands in both, and nothing gets from one to the other through it.

Each way that must be closed is beside one that is open, so that a closed way is not just a cable that is out.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from adapters.http.server import bind
from gateway.errors import AdapterUnavailable
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.hub import RunningHub, hub_in_thread
from tests.fakes.pictures import small_picture
from tests.fakes.two_sides import (
    CLOUD,
    DEVICE,
    GATEWAY_SITE,
    GATEWAY_UP,
    NEIGHBOUR,
    Namespace,
    PlainServer,
    TwoSides,
    two_sides,
)

PICTURE = small_picture()
SECRET = b"of the cloud's side: " + PICTURE
HTTP, MQTT, WEB = 8080, 1883, 80
# For a packet that nobody answers; on these cables an answer takes a millisecond.
PATIENCE_S = 0.5


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture(scope="module")
def sides(stack: ExitStack) -> TwoSides:
    return stack.enter_context(two_sides())


@pytest.fixture(scope="module")
def web(stack: ExitStack, sides: TwoSides) -> PlainServer:
    """What is on the cloud's side and no device may see."""
    return stack.enter_context(PlainServer(sides.cloud, (CLOUD, WEB), lambda: (200, "", SECRET)))


@pytest.fixture(scope="module")
def camera(stack: ExitStack, sides: TwoSides) -> PlainServer:
    """A device that was taken over: asked for its picture, it sends the gateway to the cloud's side."""
    onward = f"http://{CLOUD}/secret.jpg"
    return stack.enter_context(PlainServer(sides.devices, (DEVICE, WEB), lambda: (302, onward, b"")))


@pytest.fixture(scope="module")
def hub(stack: ExitStack, sides: TwoSides, tmp_path_factory: pytest.TempPathFactory) -> RunningHub:
    folder = tmp_path_factory.mktemp("hub")
    return sides.cloud.run(lambda: stack.enter_context(hub_in_thread(folder, listen_host=CLOUD)))


@pytest.fixture(scope="module")
def gateway(
    sides: TwoSides, web: PlainServer, camera: PlainServer, hub: RunningHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    config = folder / "gateway.toml"
    config.write_text(f'[[camera_pull.camera]]\nurl = "http://{DEVICE}/snap.jpg"\ninterval_s = 0.2\n')
    environment = {
        "GATEWAY_HTTP__LISTEN": f":{HTTP}",
        "GATEWAY_HTTP__INTERFACE": "site0",
        "GATEWAY_HTTP__ALLOWED_NETWORKS": f'["{DEVICE}/32"]',
        "GATEWAY_MQTT__ALLOWED_NETWORKS": f'["{DEVICE}/32"]',
        "GATEWAY_HTTP__ACCESS": "open",
        "GATEWAY_HTTP__URL_FETCH__ALLOWED_HOSTS": f'["{CLOUD}"]',
        "GATEWAY_MQTT__LISTEN": f":{MQTT}",
        "GATEWAY_MQTT__LISTEN_INTERFACE": "site0",
        "GATEWAY_MQTT__ACCESS": "open",
        **hub.environment(),
    }
    before = sides.forwarding()
    with GatewayProcess(
        folder / "data",
        environment=environment,
        arguments=("--config", str(config)),
        prefix=sides.gateway.prefix,
    ) as running:
        yield running
    assert sides.forwarding() == before, "the gateway changed whether its kernel forwards"


def exchange(where: Namespace, address: str, port: int, request: bytes, source: str = "") -> bytes:
    """Return all that is answered to ``request`` until the other side closes or falls silent. Raises OSError."""

    def talk() -> bytes:
        with socket.create_connection((address, port), PATIENCE_S, (source, 0)) as plug:
            plug.settimeout(5)
            plug.sendall(request)
            data = b""
            with contextlib.suppress(ConnectionResetError):  # closed with our request unread
                while chunk := plug.recv(65536):
                    data += chunk
            return data

    return where.run(talk)


def can_connect(where: Namespace, address: str, port: int) -> bool:
    def attempt() -> bool:
        try:
            socket.create_connection((address, port), PATIENCE_S).close()
        except OSError:
            return False
        return True

    return where.run(attempt)


def request(line: str, body: bytes = b"", host: str = "gateway") -> bytes:
    head = f"{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_devices_picture_reaches_the_cloud_and_no_forwarding_is_needed_for_it(
    gateway: GatewayProcess, sides: TwoSides, hub: RunningHub
) -> None:
    sent = request("POST /v1/devices/cam-1/images", PICTURE)
    assert exchange(sides.devices, GATEWAY_SITE, HTTP, sent).startswith(b"HTTP/1.1 200 ")
    until(lambda: any(b"cam-1" in message.body for message in hub.messages))
    assert set(sides.forwarding().values()) == {"0"}


def test_a_device_is_not_routed_to_the_cloud(gateway: GatewayProcess, sides: TwoSides, web: PlainServer) -> None:
    assert not can_connect(sides.devices, CLOUD, WEB)
    sides.set_forwarding(on=True)
    try:
        assert can_connect(sides.devices, CLOUD, WEB), "the cables would let it, were the gateway a router"
    finally:
        sides.set_forwarding(on=False)
    assert not can_connect(sides.devices, CLOUD, WEB)
    assert DEVICE not in web.asked
    assert gateway.running()


def test_another_address_of_the_same_network_is_not_served_unless_it_is_listed(
    gateway: GatewayProcess, sides: TwoSides
) -> None:
    sent = request("POST /v1/devices/cam-2/images", PICTURE)
    told = exchange(sides.devices, GATEWAY_SITE, HTTP, sent, source=NEIGHBOUR)
    assert told.startswith(b"HTTP/1.1 403 ")
    assert b"http.allowed_networks" in told
    connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01x"
    assert exchange(sides.devices, GATEWAY_SITE, MQTT, connect, source=NEIGHBOUR) == b""
    assert exchange(sides.devices, GATEWAY_SITE, MQTT, connect + b"\xe0\x00").startswith(b"\x20\x02\x00\x00")
    assert gateway.banner.count(f"networks: {DEVICE}/32; by site0 only") == 2


@pytest.mark.parametrize(
    "line",
    [
        f"CONNECT {CLOUD}:{WEB}",
        f"GET http://{CLOUD}/secret.jpg",
        f"POST http://{CLOUD}/secret.jpg",
        f"GET //{CLOUD}/secret.jpg",
        "GET /secret.jpg",
    ],
)
def test_no_form_of_request_makes_the_listener_a_proxy(
    gateway: GatewayProcess, sides: TwoSides, web: PlainServer, line: str
) -> None:
    answer = exchange(sides.devices, GATEWAY_SITE, HTTP, request(line, host=CLOUD))
    assert answer[:12] in {b"HTTP/1.1 404", b"HTTP/1.1 405", b"HTTP/1.1 501"}
    assert b"of the cloud" not in answer
    assert gateway.running()
    assert GATEWAY_UP not in web.asked


def test_the_gateway_fetches_nothing_from_the_cloud_for_a_device(
    gateway: GatewayProcess, sides: TwoSides, web: PlainServer
) -> None:
    asked = request("POST /url", f'{{"url": "http://{CLOUD}/secret.jpg"}}'.encode())
    answer = exchange(sides.devices, GATEWAY_SITE, HTTP, asked)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"url_refused" in answer
    assert gateway.running()
    assert GATEWAY_UP not in web.asked


def test_a_camera_can_not_send_the_gateway_to_the_cloud(
    gateway: GatewayProcess, camera: PlainServer, web: PlainServer
) -> None:
    until(lambda: len(camera.asked) >= 2)
    assert set(camera.asked) == {GATEWAY_SITE}
    assert gateway.running()
    assert GATEWAY_UP not in web.asked


def test_the_gateway_itself_could_have_reached_what_it_refused(sides: TwoSides, web: PlainServer) -> None:
    assert SECRET in exchange(sides.gateway, CLOUD, WEB, request("GET /secret.jpg"))
    web.asked.remove(GATEWAY_UP)


def test_from_the_cloud_no_listener_for_devices_is_reached_at_any_address(
    gateway: GatewayProcess, sides: TwoSides
) -> None:
    for port in (HTTP, MQTT):
        assert can_connect(sides.devices, GATEWAY_SITE, port)
        assert not can_connect(sides.cloud, GATEWAY_UP, port)
        # Linux takes a packet for any of its addresses at any interface: what an address alone would not have closed.
        assert not can_connect(sides.cloud, GATEWAY_SITE, port)
    plain = sides.gateway.run(lambda: socket.create_server((GATEWAY_SITE, 9000)))
    with plain:
        assert can_connect(sides.cloud, GATEWAY_SITE, 9000)
    assert gateway.running()


def test_an_interface_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(AdapterUnavailable, match=r"http\.interface = 'site9'.*there are lo"):
        bind("127.0.0.1", 0, "http.listen", "site9")
