"""What we rely on inside paho 1.6.1, and what mosquitto's defaults lose where config/mosquitto.conf does not.

When one fails after an upgrade, read adapters/mqtt/broker_paho.py or config/mosquitto.conf before mending the test.
"""

import inspect
import time
from importlib.metadata import version
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from adapters.mqtt.broker_framing import Packet
from adapters.mqtt.broker_paho import DeferredClient
from gateway.settings import LimitsSettings
from tests.fakes.broker_client import options
from tests.fakes.mosquitto import OURS, Mosquitto, Publisher, end_device, needs_mosquitto

TOPIC = "devices/d1/readings"


# --- paho ---------------------------------------------------------------------------------------------


def test_paho_is_the_version_that_was_read() -> None:
    assert version("paho-mqtt") == "1.6.1"


def test_paho_acts_on_a_packet_as_we_hand_it_over() -> None:
    client = DeferredClient(options(), None)
    granted: list[object] = []
    client.on_subscribe = lambda _client, _userdata, *arguments: granted.append(arguments)
    expected = set(client._in_packet)
    assert client.handle(Packet(0x90, b"\x00\x07\x01\x80")) == mqtt.MQTT_ERR_SUCCESS
    assert set(client._in_packet) == expected
    assert granted == [(7, (1, 0x80))]


def test_acknowledgements_leave_as_one_write_in_their_order() -> None:
    client = DeferredClient(options(), None)
    at_qos_2 = {258}
    client.acknowledge([7, 258, 9], at_qos_2=at_qos_2)
    (queued,) = client._out_packet
    assert queued["packet"] == b"\x40\x02\x00\x07\x50\x02\x01\x02\x40\x02\x00\x09"
    assert at_qos_2 == set()


def test_paho_answers_a_pubrel_of_a_message_that_it_never_saw() -> None:
    client = DeferredClient(options(), None)
    assert client.handle(Packet(0x62, b"\x01\x02")) == mqtt.MQTT_ERR_SUCCESS
    assert [queued["packet"] for queued in client._out_packet] == [b"\x70\x02\x01\x02"]


def test_paho_lets_what_a_callback_raises_through() -> None:
    client = DeferredClient(options(), None)

    def faulty(*_: object) -> None:
        raise ZeroDivisionError

    client.on_subscribe = faulty
    with pytest.raises(ZeroDivisionError):
        client.handle(Packet(0x90, b"\x00\x07\x01"))


def test_paho_connects_by_the_method_that_we_replace() -> None:
    assert "self._create_socket_connection()" in inspect.getsource(mqtt.Client.reconnect)


# --- mosquitto ----------------------------------------------------------------------------------------

DEFAULTS = None
both_ways = pytest.mark.parametrize(("conf", "loses"), [(DEFAULTS, True), (OURS, False)], ids=["defaults", "ours"])


class Subscriber:
    """A persistent session that subscribes, goes away, and later counts what was kept for it."""

    def __init__(self, broker: Mosquitto) -> None:
        self._broker = broker
        self.came: set[bytes] = set()
        client = self._client()
        client.loop_start()
        client.subscribe(TOPIC, 1)
        time.sleep(0.3)
        end_device(client)

    def collect(self, expected: int) -> int:
        """Return how many distinct messages were kept: all expected, or what came until it was quiet."""
        client = self._client()
        client.on_message = lambda _client, _userdata, message: self.came.add(message.payload)
        client.loop_start()
        before, quiet_since = 0, time.monotonic()
        while len(self.came) < expected and time.monotonic() < quiet_since + 1:
            if len(self.came) > before:
                before, quiet_since = len(self.came), time.monotonic()
            time.sleep(0.02)
        end_device(client)
        return len(self.came)

    def _client(self) -> mqtt.Client:
        client = mqtt.Client("away", clean_session=False)
        client.connect("127.0.0.1", self._broker.port)
        return client


@needs_mosquitto
@both_ways
def test_many_messages_for_a_gateway_that_is_away(tmp_path: Path, conf: Path | None, loses: bool) -> None:
    with Mosquitto(tmp_path / "broker", conf=conf) as broker:
        subscriber = Subscriber(broker)
        with Publisher(broker) as device:
            for number in range(1300):
                device.publish(str(number), TOPIC, b"%d" % number)
            device.wait_acknowledged(1300)
        assert (subscriber.collect(1300) < 1300) == loses


@needs_mosquitto
@both_ways
def test_kill_of_a_broker_that_has_acknowledged(tmp_path: Path, conf: Path | None, loses: bool) -> None:
    with Mosquitto(tmp_path / "broker", conf=conf) as broker:
        subscriber = Subscriber(broker)
        with Publisher(broker) as device:
            for number in range(100):
                device.publish(str(number), TOPIC, b"%d" % number)
            device.wait_acknowledged(100)
        time.sleep(0.5)  # ours has saved by then; the last milliseconds are nobody's promise
        broker.kill()
        broker.start()
        assert (subscriber.collect(100) < 100) == loses


@needs_mosquitto
@both_ways
def test_messages_at_qos_0_for_a_gateway_that_is_away(tmp_path: Path, conf: Path | None, loses: bool) -> None:
    with Mosquitto(tmp_path / "broker", conf=conf) as broker:
        subscriber = Subscriber(broker)
        with Publisher(broker) as device:
            for number in range(20):
                device.publish(str(number), TOPIC, b"%d" % number, qos=0)
            device.wait_acknowledged(20)
        assert (subscriber.collect(20) < 20) == loses


@needs_mosquitto
def test_too_large_a_message_is_not_acknowledged_with_our_limit(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Publisher(broker) as device:
        device.publish("huge", TOPIC, b"x" * 9_000_000)
        time.sleep(0.5)
        assert device.acknowledged == set()


@needs_mosquitto
def test_too_large_a_message_is_acknowledged_and_dropped_with_message_size_limit(tmp_path: Path) -> None:
    extra = ["message_size_limit 1000"]
    with Mosquitto(tmp_path / "broker", conf=DEFAULTS, extra=extra) as broker:
        subscriber = Subscriber(broker)
        with Publisher(broker) as device:
            device.publish("large", TOPIC, b"x" * 2000)
            device.wait_acknowledged(1)
        assert subscriber.collect(1) == 0


def test_our_packet_limit_is_what_the_gateway_reads() -> None:
    line = next(line for line in OURS.read_text().splitlines() if line.startswith("max_packet_size"))
    assert int(line.split()[1]) == LimitsSettings().mqtt_packet_bytes_max


def test_every_line_of_our_configuration_has_its_reason_above_it() -> None:
    paragraphs = OURS.read_text().strip().split("\n\n")
    for paragraph in paragraphs[1:]:
        assert paragraph.startswith("# "), f"no reason above: {paragraph}"
