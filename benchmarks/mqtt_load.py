"""Publishes one body again and again over MQTT at QoS 1; a process of its own, so that its CPU is not ours.

Usage: ``python -m benchmarks.mqtt_load PORT TOPIC CLIENTS WINDOW SECONDS BODYFILE results|pubacks``. Each client keeps
WINDOW messages unanswered; the answer is the result on ``devices/{device_id}/results`` (it tells of the commit), or the
PUBACK. TOPIC has {device_id}. Prints a JSON line: answers within the time, and how long that was.
Plain sockets and a few bytes of MQTT 3.1.1, since a client library would cost more than the gateway.
"""

import asyncio
import json
import struct
import sys
import time
from pathlib import Path

_PUBACK, _PUBLISH = 0x40, 0x30


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text)) + text.encode()


def _packet(first: int, body: bytes) -> bytes:
    length, header = len(body), bytearray([first])
    while True:
        length, low = divmod(length, 128)
        header.append(low | (0x80 if length else 0))
        if not length:
            return bytes(header) + body


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    first = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return first & 0xF0, await reader.readexactly(length)


async def _client(port: int, topic: str, name: str, window: int, until: float, body: bytes, awaited: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_packet(0x10, _text("MQTT") + b"\x04\x02\x00\x3c" + _text(name)))
    await _read(reader)
    if awaited == _PUBLISH:
        writer.write(_packet(0x82, b"\x00\x01" + _text(f"devices/{name}/results") + b"\x00"))
        await _read(reader)
    head = _text(topic.format(device_id=name))
    packet_id = answered = 0

    def publish() -> None:
        nonlocal packet_id
        packet_id = packet_id % 65_535 + 1
        writer.write(_packet(0x32, head + struct.pack("!H", packet_id) + body))

    for _ in range(window):
        publish()
    while time.monotonic() < until:
        if (await _read(reader))[0] == awaited:
            answered += 1
            publish()
            await writer.drain()
    writer.close()
    return answered


async def _main(port: int, topic: str, clients: int, window: int, seconds: float, body: bytes, awaited: int) -> None:
    started = time.monotonic()
    until = started + seconds
    work = (_client(port, topic, f"bench-{n}", window, until, body, awaited) for n in range(clients))
    answered = sum(await asyncio.gather(*work))
    print(json.dumps({"answered": answered, "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    port, topic, clients, window, seconds, file, awaits = sys.argv[1:]
    asyncio.run(
        _main(
            int(port),
            topic,
            int(clients),
            int(window),
            float(seconds),
            Path(file).read_bytes(),
            {"results": _PUBLISH, "pubacks": _PUBACK}[awaits],
        )
    )
