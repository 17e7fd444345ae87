"""Whatever a device sends wrongly, to a real gateway, each way: answered, noted, counted by reason, logged, and over.

Late and greedy devices have their deadlines changed in test_mqtt_listener_faults.py; ten thousand silent ones are in
test_mqtt_idle_connections.py.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from adapters.mqtt.codec_fields import write_text
from adapters.mqtt.codec_packets import V3_1_1, V5, Connack, Puback
from adapters.mqtt.codec_reasons import ReasonCode
from gateway.outbox.inspection import list_refusals
from tests.fakes.broker_client import listening_device
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.mosquitto import Mosquitto, Publisher, needs_mosquitto, until
from tests.fakes.mqtt_device import RawDevice

IMAGE_BYTES_MAX = 64 * 1024
IMAGES, READINGS = "devices/cam-1/images", "devices/cam-1/readings"


class Site:
    """A gateway with both ways open, and what its operator sees."""

    def __init__(self, gateway: GatewayProcess, broker: Mosquitto) -> None:
        self.gateway = gateway
        self.broker = broker
        self.port = int(gateway.mqtt.rpartition(":")[2])

    def counted(self, name: str, **labels: str) -> float:
        wanted = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
        text = requests.get(f"{self.gateway.admin}/metrics", timeout=10).text
        found = re.search(rf"^{re.escape(name)}\{{{re.escape(wanted)}\}} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found is not None else 0.0

    def logged(self, event: str, **fields: str) -> list[dict[str, Any]]:
        lines = (json.loads(line) for line in self.gateway.log_file.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event and fields.items() <= line.items()]

    def newest_refusal(self) -> tuple[str, str, int | None] | None:
        newest = next(list_refusals(self.gateway.data_dir, limit=1), None)
        return None if newest is None else (newest.reason, newest.device_id, newest.payload_bytes)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("bad-input")
    with Mosquitto(folder / "broker") as broker:
        environment = {
            "GATEWAY_MQTT__URL": broker.url,
            "GATEWAY_LIMITS__IMAGE_BYTES_MAX": str(IMAGE_BYTES_MAX),
            "GATEWAY_GATEWAY__LOG_LEVEL": "debug",
        }
        with GatewayProcess(folder / "data", environment=environment) as gateway:
            yield Site(gateway, broker)


# --- messages -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A message and the reason for which it is refused."""

    payload: bytes
    topic: str
    reason: str


MESSAGES = {
    "not a picture": Bad(payload=b"no picture at all", topic=IMAGES, reason="not_an_image"),
    "half a picture": Bad(payload=b"\xff\xd8\xff\xe0" + bytes(40), topic=IMAGES, reason="image_damaged"),
    "wrong JSON": Bad(payload=b'{"t": 21.5', topic=READINGS, reason="reading_invalid"),
    "wrong JSON around a picture": Bad(payload=b'{"image": ', topic=IMAGES, reason="payload_invalid"),
    "invalid UTF-8": Bad(payload=b'{"t": "\xff\xfe"}', topic=READINGS, reason="reading_invalid"),
    "no payload": Bad(payload=b"", topic=IMAGES, reason="payload_empty"),
    "a little too large": Bad(payload=bytes(IMAGE_BYTES_MAX + 1), topic=IMAGES, reason="payload_too_large"),
    "far too large": Bad(payload=bytes(1_000_000), topic=IMAGES, reason="payload_too_large"),
    "unknown topic": Bad(payload=b"{}", topic="frigate/cam/snapshot", reason="topic_unknown"),
}
# MQTT 5 is told the limit of a packet; the broker was subscribed to known topics only.
NOT_IN_5_0 = {"far too large"}
NOT_FROM_A_BROKER = {"unknown topic"}


@asynccontextmanager
async def refused_once(site: Site, bad: Bad) -> AsyncIterator[None]:
    """Check that what happens meanwhile is refused as it should be: in the table, in the metric, in the log."""
    labels = {"reason": bad.reason, "transport": "mqtt"}
    counted, logged = site.counted("gateway_refusals_total", **labels), len(site.logged("submission_refused", **labels))
    yield
    device_id = "unknown" if bad.reason == "topic_unknown" else "cam-1"
    await until(lambda: site.newest_refusal() == (bad.reason, device_id, len(bad.payload)))
    assert site.counted("gateway_refusals_total", **labels) == counted + 1
    assert len(site.logged("submission_refused", **labels)) == logged + 1


@needs_mosquitto
@pytest.mark.parametrize("name", MESSAGES)
async def test_bad_message_of_3_1_1_is_acknowledged_noted_counted_and_logged(site: Site, name: str) -> None:
    bad = MESSAGES[name]
    async with await RawDevice.connect(site.port, version=V3_1_1) as device:
        async with refused_once(site, bad):
            device.publish(bad.payload, topic=bad.topic, packet_id=1)
            assert await device.receive() == Puback(packet_id=1)
        device.publish(b'{"t": 21.5}', packet_id=2)
        assert await device.receive() == Puback(packet_id=2)


@needs_mosquitto
@pytest.mark.parametrize("name", [name for name in MESSAGES if name not in NOT_IN_5_0])
async def test_bad_message_of_5_0_is_answered_with_its_reason_noted_counted_and_logged(site: Site, name: str) -> None:
    bad = MESSAGES[name]
    async with await RawDevice.connect(site.port, version=V5) as device:
        async with refused_once(site, bad):
            device.publish(bad.payload, topic=bad.topic, packet_id=1)
            answer = await device.receive()
            assert isinstance(answer, Puback)
            assert answer.code == ReasonCode.PAYLOAD_FORMAT_INVALID
            assert (answer.properties.reason_string or "").startswith(f"{bad.reason}: ")
        device.publish(b'{"t": 21.5}', packet_id=2)
        assert await device.receive() == Puback(packet_id=2)


@needs_mosquitto
@pytest.mark.parametrize("name", [name for name in MESSAGES if name not in NOT_FROM_A_BROKER])
async def test_bad_message_of_the_broker_is_reported_noted_counted_and_logged(site: Site, name: str) -> None:
    bad = MESSAGES[name]
    with listening_device(site.broker, "devices/cam-1/results") as heard, Publisher(site.broker) as device:
        async with refused_once(site, bad):
            device.publish("bad", bad.topic, bad.payload)
        device.publish("next", READINGS, b'{"t": 21.5}')
        await until(lambda: len(heard) == 2)
    told = [json.loads(payload) for _, payload in heard]
    assert [one["status"] for one in told] == ["refused", "accepted"]
    assert told[0]["reason"] == bad.reason
    assert told[0]["hint"]


# --- streams ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """What a client says after its CONNECT (or instead of one), and the reason of its end."""

    data: bytes
    reason: str
    connects: bool = True


STREAMS = {
    "another protocol": Wrong(data=b"GET / HTTP/1.1\r\n\r\n", reason="protocol_error", connects=False),
    "invalid UTF-8 in a topic": Wrong(data=b"\x30\x04\x00\x02\xc3\x28", reason="malformed_packet"),
    "topic with a wildcard": Wrong(data=b"\x30\x04\x00\x01#x", reason="topic_name_invalid"),
    "packet of no known type": Wrong(data=b"\x00\x00", reason="malformed_packet"),
    "second CONNECT": Wrong(data=b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01x", reason="protocol_error"),
    "control packet of a megabyte": Wrong(data=b"\x82\x80\x80\x40", reason="packet_too_large"),
}


@needs_mosquitto
@pytest.mark.parametrize("name", STREAMS)
async def test_wrong_stream_ends_its_connection_counted_and_logged(site: Site, name: str) -> None:
    wrong = STREAMS[name]
    labels = {"reason": wrong.reason, "way": "listener"}
    before = site.counted("gateway_mqtt_disconnects_total", **labels)
    logged = len(site.logged("mqtt_client_dropped", reason=wrong.reason))
    async with await RawDevice.dial(site.port) as device:
        if wrong.connects:
            device.send_bytes(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01x")
            assert await device.receive() == Connack(code=0)
        device.send_bytes(wrong.data)
        assert await device.receive_until_closed() == []
    assert site.counted("gateway_mqtt_disconnects_total", **labels) == before + 1
    assert len(site.logged("mqtt_client_dropped", reason=wrong.reason)) == logged + 1


@needs_mosquitto
async def test_half_packet_of_a_device_that_vanishes_is_counted_and_leaves_nothing(site: Site) -> None:
    before = site.counted("gateway_mqtt_disconnects_total", reason="lost", way="listener")
    device = await RawDevice.connect(site.port, "half")
    device.send_bytes(b"\x32\xff\x7f" + write_text(IMAGES) + bytes(1000))
    await device.drained()
    device.abort()
    await until(lambda: site.counted("gateway_mqtt_disconnects_total", reason="lost", way="listener") == before + 1)
    assert site.logged("mqtt_client_gone", reason="lost", client_id="half")


@needs_mosquitto
async def test_client_id_used_twice_is_counted_and_logged_and_the_newer_is_served(site: Site) -> None:
    async with await RawDevice.connect(site.port, "twin") as older, await RawDevice.connect(site.port, "twin") as newer:
        assert await older.receive_until_closed() == []
        newer.publish(b'{"t": 1}', packet_id=1)
        assert await newer.receive() == Puback(packet_id=1)
    assert site.counted("gateway_mqtt_disconnects_total", reason="taken_over", way="listener") == 1
    assert site.logged("mqtt_client_dropped", reason="taken_over", client_id="twin")


# --- what it costs ------------------------------------------------------------------------------------

TIMES = 200
# Measured: nothing. A leak of one payload (32 KiB) each time would be 6 MiB.
GROWTH_MIB_MAX = 4


@needs_mosquitto
async def test_bad_input_again_and_again_leaves_no_memory_behind(site: Site) -> None:
    await _misbehave(site, 50)
    before = _resident_mib(site.gateway.worker_pid)
    await _misbehave(site, TIMES)
    assert _resident_mib(site.gateway.worker_pid) - before < GROWTH_MIB_MAX


async def _misbehave(site: Site, times: int) -> None:
    """Each time: a connection with a refused message, and one that ends by a violation with half a picture read."""
    for _ in range(times):
        async with await RawDevice.connect(site.port, "bad") as device:
            device.publish(b"no picture", topic=IMAGES, packet_id=1)
            device.publish(bytes(IMAGE_BYTES_MAX // 2), topic=READINGS, packet_id=2)
            assert [await device.receive(), await device.receive()] == [Puback(packet_id=n) for n in (1, 2)]
            device.send_bytes(b"\x32\xff\x7f" + write_text(IMAGES) + bytes(1000))
        async with await RawDevice.dial(site.port) as device:
            device.send_bytes(b"\xff" * 50)
            await device.receive_until_closed()
    await asyncio.sleep(0.2)


def _resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024
