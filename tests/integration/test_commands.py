"""From the cloud, or from the site, to a device and back: hub stand-in → gateway → MQTT device → outcome at the hub."""

import json
import queue
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pytest

from tests.fakes.gateway_process import ROOT, GatewayProcess
from tests.fakes.hub import RunningHub, hub_in_thread
from tests.fakes.ledger import items
from tests.fakes.mosquitto import Mosquitto, needs_mosquitto

TOPIC = "devices/cam-1/commands"
IMPATIENT = {
    "GATEWAY_CLOUD__KEEP_ALIVE_S": "5",
    "GATEWAY_CLOUD__CONNECT_TIMEOUT_S": "8",
    "GATEWAY_CLOUD__BACKOFF_INITIAL_S": "0.1",
    "GATEWAY_CLOUD__BACKOFF_MAX_S": "1",
    "GATEWAY_CLOUD__BATCH_WAIT_S": "0.1",
}


def eventually(condition: Callable[[], bool], *, timeout_s: float = 60) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


class Device:
    """A real MQTT client that listens for its commands."""

    def __init__(self, url: str, *, will: str = "") -> None:
        self.heard: queue.Queue[dict[str, object]] = queue.Queue()
        self.subscribed: queue.Queue[int] = queue.Queue()
        self.client = paho.Client("cam-1", clean_session=False)
        if will:
            self.client.will_set("devices/cam-1/status", will, qos=1)
        self.client.on_connect = lambda client, *_: client.subscribe(TOPIC, qos=1)
        self.client.on_subscribe = lambda *_: self.subscribed.put(1)
        self.client.on_message = lambda _client, _userdata, message: self.heard.put(json.loads(message.payload))
        parts = urlsplit(url)
        self.client.connect(parts.hostname or "", parts.port or 1883)
        self.client.loop_start()
        self.subscribed.get(timeout=20)

    def vanish(self) -> None:
        """Go without a word, as a power cut does."""
        self.client.loop_stop()
        sock = self.client.socket()
        if sock is not None:
            sock.close()
        self.client._reset_sockets()  # the pair that it wakes itself with

    def leave(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.client._reset_sockets()


@contextmanager
def device(url: str, *, will: str = "") -> Iterator[Device]:
    one = Device(url, will=will)
    try:
        yield one
    finally:
        one.leave()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with hub_in_thread(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    environment = hub.environment() | IMPATIENT | {"GATEWAY_DEVICES__STATUS_EVENTS": "true"}
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "data", environment=environment) as running:
        yield running


def devices(gateway: GatewayProcess, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "devices", *arguments, "--set", f"gateway.data_dir={gateway.data_dir}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def readings(hub: RunningHub, device_id: str) -> list[dict[str, object]]:
    return [item["values"] for _, item in items(hub.messages) if item["device_id"] == device_id]


def test_a_cloud_to_device_message_reaches_the_device_and_its_outcome_the_hub(
    gateway: GatewayProcess, hub: RunningHub
) -> None:
    with device(gateway.mqtt) as camera:
        body = {"device_id": "cam-1", "command": "light", "value": 3, "payload": {"colour": "red"}}
        hub.send_to_device("gw1", json.dumps(body).encode())
        heard = camera.heard.get(timeout=30)
    assert (heard["command"], heard["value"], heard["payload"]) == ("light", 3, {"colour": "red"})
    told = {"command_id": heard["command_id"], "command": "light", "outcome": "told"}
    assert eventually(lambda: told in readings(hub, "cam-1"))


def test_a_message_that_nobody_can_be_told_is_reported_to_the_hub(gateway: GatewayProcess, hub: RunningHub) -> None:
    hub.send_to_device("gw1", b"make me a sandwich")
    assert eventually(lambda: any(one.get("outcome") == "invalid" for one in readings(hub, "gw-test")))


def test_a_command_given_at_the_site_is_told(gateway: GatewayProcess) -> None:
    with device(gateway.mqtt) as camera:
        assert devices(gateway, "command", "cam-1", "photo") == "told\n"
        assert camera.heard.get(timeout=30)["command"] == "photo"


def test_a_command_for_nobody_waits_and_says_so(gateway: GatewayProcess) -> None:
    assert "is not here yet" in devices(gateway, "command", "cam-9", "photo", "--wait", "0.5")


def test_a_command_that_makes_no_sense_is_refused_at_once(gateway: GatewayProcess) -> None:
    assert "is not usable" in devices(gateway, "command", "cam/1", "photo", code=2)


def test_devices_that_come_and_go_are_listed_and_told_with_their_will(gateway: GatewayProcess, hub: RunningHub) -> None:
    camera = Device(gateway.mqtt, will="battery empty")
    assert "online" in devices(gateway, "list")
    camera.vanish()
    assert eventually(lambda: "battery empty" in devices(gateway, "list"))
    assert eventually(lambda: any("battery empty" in str(one.get("detail")) for one in readings(hub, "cam-1")))


@needs_mosquitto
def test_through_a_broker_a_command_is_published_for_the_device(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        environment = {"GATEWAY_MQTT__URL": broker.url, "GATEWAY_MQTT__LISTEN": ""}
        with GatewayProcess(tmp_path / "data", environment=environment) as gateway, device(broker.url) as camera:
            assert devices(gateway, "command", "cam-1", "interval", "--value", "30") == "told\n"
            heard = camera.heard.get(timeout=30)
    assert (heard["command"], heard["value"]) == ("interval", 30)
