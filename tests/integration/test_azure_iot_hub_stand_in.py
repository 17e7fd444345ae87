"""The stand-in is as strict as IoT Hub: spoken to in plain MQTT, without the SDK; and its HTTP view."""

import asyncio
import base64
import json
import ssl
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.simulators.iot_hub import mqtt_wire, sas
from gateway.simulators.iot_hub.hub import HubDescription, HubOptions, run_hub
from tests.fakes.hub import RunningHub, running_hub
from tests.fakes.link import eventually, link_to, link_with, message


def _text(value: str) -> bytes:
    return struct.pack("!H", len(value.encode())) + value.encode()


def _packet(first: int, body: bytes) -> bytes:
    assert len(body) < 16384
    length = bytes((len(body),)) if len(body) < 128 else bytes((len(body) % 128 | 0x80, len(body) // 128))
    return bytes((first,)) + length + body


def _token(hub: RunningHub, device: str, *, expires_in_s: float = 600) -> str:
    resource = quote(f"{hub.description.hostname}/devices/{device}", safe="")
    expiry = str(int(time.time() + expires_in_s))
    signed = quote(sas.signature(resource, expiry, hub.hub.devices[device].primary_key), safe="")
    return f"SharedAccessSignature sr={resource}&sig={signed}&se={expiry}"


def _connect(hub: RunningHub, *, device: str = "gw1", password: str | None = None, keep_alive_s: int = 60) -> bytes:
    username = f"{hub.description.hostname}/{device}/?api-version=2019-10-01"
    body = _text("MQTT") + b"\x04\xc0" + struct.pack("!H", keep_alive_s)
    return _packet(0x10, body + _text(device) + _text(username) + _text(password or _token(hub, "gw1")))


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, data: bytes) -> bytes:
        """Send, and return the answer; empty when the hub closed the connection."""
        self._writer.write(data)
        return await self.hear()

    async def hear(self) -> bytes:
        async with asyncio.timeout(10):
            try:
                return await self._reader.read(1000)
            except ConnectionError:
                return b""


@asynccontextmanager
async def _wire(hub: RunningHub) -> AsyncIterator[Wire]:
    context = ssl.create_default_context(cafile=str(hub.description.ca_file))
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.description.port, ssl=context)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with running_hub(tmp_path) as running:
        yield running


ACCEPTED = mqtt_wire.connack(0)
REFUSED = mqtt_wire.connack(mqtt_wire.CONNACK_NOT_AUTHORIZED)


async def test_a_fresh_token_is_accepted_and_an_expired_one_is_not(hub: RunningHub) -> None:
    async with _wire(hub) as wire:
        assert await wire.say(_connect(hub)) == ACCEPTED
    async with _wire(hub) as wire:
        assert await wire.say(_connect(hub, password=_token(hub, "gw1", expires_in_s=-1))) == REFUSED
        await eventually(lambda: "expired" in hub.hub.last_refusal)


async def test_an_unknown_device_is_refused(hub: RunningHub) -> None:
    async with _wire(hub) as wire:
        assert await wire.say(_connect(hub, device="stranger")) == REFUSED


@pytest.mark.parametrize("topic", ["telemetry", "devices/gw2/messages/events/"])
async def test_a_foreign_topic_costs_the_connection(hub: RunningHub, topic: str) -> None:
    async with _wire(hub) as wire:
        await wire.say(_connect(hub))
        assert await wire.say(mqtt_wire.publish(mqtt_wire.Publish(topic=topic, payload=b"", qos=1, packet_id=1))) == b""
    assert hub.messages == []


async def test_a_foreign_subscription_costs_the_connection(hub: RunningHub) -> None:
    async with _wire(hub) as wire:
        await wire.say(_connect(hub))
        assert await wire.say(_packet(0x82, b"\x00\x01" + _text("#") + b"\x01")) == b""


async def test_talking_before_connecting_costs_the_connection(hub: RunningHub) -> None:
    async with _wire(hub) as wire:
        assert await wire.say(b"\xc0\x00") == b""


async def test_the_second_connection_of_a_device_ends_the_first(hub: RunningHub) -> None:
    async with _wire(hub) as first, _wire(hub) as second:
        await first.say(_connect(hub))
        await second.say(_connect(hub))
        assert await first.hear() == b""
        assert await second.say(b"\xc0\x00") == mqtt_wire.pingresp()


async def test_a_device_that_does_not_ping_is_dropped(hub: RunningHub) -> None:
    async with _wire(hub) as wire:
        await wire.say(_connect(hub, keep_alive_s=1))
        assert await wire.hear() == b""


async def test_a_cloud_to_device_message_waits_for_the_device_and_comes_again_until_acknowledged(
    hub: RunningHub,
) -> None:
    hub.hub.send_to_device("gw1", b"hello", {})
    subscribe = _packet(0x82, b"\x00\x01" + _text("devices/gw1/messages/devicebound/#") + b"\x01")
    for _ in range(2):
        async with _wire(hub) as wire:
            await wire.say(_connect(hub))
            heard = await wire.say(subscribe)
            while b"hello" not in heard:
                heard += await wire.hear()
    assert len(hub.hub.devices["gw1"].waiting) == 1


async def test_keys_survive_a_restart_of_the_stand_in(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as first:
        settings = first.cloud_settings()
    async with running_hub(tmp_path) as second:
        moved = settings.model_copy(update={"proxy": second.description.proxy})
        async with link_with(moved) as link, link.session() as session:
            await session.send(message())
        assert len(second.messages) == 1


async def test_what_arrives_is_also_written_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "record.jsonl"
    async with running_hub(tmp_path, record_file=file) as hub, link_to(hub) as link, link.session() as session:
        await session.send(message(1, b'{"items":[]}'))
        await session.send(message(2, b"\xff"))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["body"] for line in lines] == [{"items": []}, {"base64": base64.b64encode(b"\xff").decode()}]


async def test_faults_are_switched_through_the_view(hub: RunningHub) -> None:
    assert (await _ask(hub, "POST", "/faults", {"no_puback": True}))["no_puback"] is True
    assert (await _ask(hub, "GET", "/faults"))["no_puback"] is True
    assert "unknown" in (await _ask(hub, "POST", "/faults", {"typo": True}))["error"]
    assert hub.hub.faults.no_puback
    assert (await _ask(hub, "POST", "/faults", {}))["no_puback"] is False


async def test_devices_are_spoken_to_and_kicked_through_the_view(hub: RunningHub) -> None:
    async with _wire(hub) as wire:
        await wire.say(_connect(hub))
        assert (await _ask(hub, "GET", "/state"))["connected"] == ["gw1"]
        await _ask(hub, "POST", "/c2d", {"device_id": "gw1", "body": {"a": 1}, "properties": {"n": 2}})
        assert hub.hub.devices["gw1"].waiting[0].body == b'{"a": 1}'
        assert "no device" in (await _ask(hub, "POST", "/c2d", {"device_id": "nobody"}))["error"]
        await _ask(hub, "POST", "/kick")
        assert await wire.hear() == b""


async def test_the_view_forgets_when_asked(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link, link.session() as session:
        await session.send(message())
        assert len((await _ask(hub, "GET", "/messages?device=gw1"))["messages"]) == 1
        assert (await _ask(hub, "GET", "/messages?device=other"))["messages"] == []
        await _ask(hub, "DELETE", "/messages")
        assert (await _ask(hub, "GET", "/messages")) == {"messages": [], "refused": []}
        assert hub.raw_bytes == b""


async def test_a_wrong_place_is_answered_with_the_right_ones(hub: RunningHub) -> None:
    assert "GET /messages" in (await _ask(hub, "GET", "/nowhere"))["places"]


async def test_starting_it_tells_a_newcomer_what_to_paste(tmp_path: Path) -> None:
    told: list[HubDescription] = []
    running = asyncio.create_task(
        run_hub(HubOptions(directory=tmp_path, device_ids=("gw1", "gw2")), announce=told.append)
    )
    await eventually(lambda: told)
    running.cancel()
    await asyncio.wait([running])
    text = told[0].text()
    assert f"export GATEWAY_CLOUD__CA_FILE='{tmp_path}/ca.pem'" in text
    assert "export GATEWAY_CLOUD__CONNECTION_STRING='HostName=iot-hub.localhost;DeviceId=gw2;SharedAccessKey=" in text
    assert "export GATEWAY_CLOUD__PROXY='http://127.0.0.1:" in text


async def _ask(hub: RunningHub, method: str, path: str, body: Any = None) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.hub.view.port)
    payload = b"" if body is None else json.dumps(body).encode()
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload)
    answer = await reader.read()
    writer.close()
    return json.loads(answer.partition(b"\r\n\r\n")[2])
