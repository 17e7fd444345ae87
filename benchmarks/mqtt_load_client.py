"""Many MQTT devices in one process of its own: each publishes readings at QoS 1, at a pace or as fast as answered.

Usage: ``python -m benchmarks.mqtt_load_client HOST:PORT DEVICES SECONDS INTERVAL_S [BYTES] [WINDOW]``. INTERVAL_S 0:
the next leaves when one of WINDOW is acknowledged. Prints "connected" once all are, and a JSON line at the end:
messages acknowledged, devices lost, median and 99th percentile of the time to the PUBACK in ms.
"""

import asyncio
import json
import random
import statistics
import struct
import sys
import time

from adapters.mqtt.codec import encode
from adapters.mqtt.codec_packets import V3_1_1, Connect, Publish


class Device(asyncio.Protocol):
    """One connection; counts PUBACKs by their fixed four bytes."""

    def __init__(self, number: int, padding: int) -> None:
        self.number = number
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self.lost = False
        self.saturate_until = 0.0
        self._padding = padding
        self._sent: dict[int, float] = {}
        self._next_id = 0
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        connect = Connect(version=V3_1_1, client_id=f"load-{self.number}", clean_start=True, keep_alive_s=60)
        transport.write(encode(connect, V3_1_1))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's
        self.lost = True

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data
        whole = len(data) - len(data) % 4  # CONNACK and PUBACK have four bytes, and nothing else comes
        self._buffer = data[whole:]
        for at in range(0, whole, 4):
            if data[at] == 0x20:
                self.connected.set_result(None)
            else:
                self._acknowledged(struct.unpack_from("!H", data, at + 2)[0])

    def _acknowledged(self, packet_id: int) -> None:
        now = time.monotonic()
        self.latencies.append((now - self._sent.pop(packet_id)) * 1000)
        if now < self.saturate_until:
            self.publish()

    def publish(self) -> None:
        self._next_id = self._next_id % 65_535 + 1
        self._sent[self._next_id] = time.monotonic()
        body = b'{"temperature":%d.5,"humidity":40.2,"n":%d,"note":"%s"}' % (
            self.number % 40,
            self._next_id,
            b"x" * self._padding,
        )
        topic = f"devices/load-{self.number}/readings"
        packet = encode(Publish(topic=topic, payload=body, qos=1, packet_id=self._next_id), V3_1_1)
        assert self._transport is not None
        self._transport.write(packet)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def _dial(host: str, port: int, number: int, padding: int) -> Device:
    loop = asyncio.get_running_loop()
    _, device = await loop.create_connection(lambda: Device(number, padding), host, port)
    await device.connected
    return device


async def _paced(device: Device, until: float, interval_s: float) -> None:
    await asyncio.sleep(random.uniform(0, interval_s))
    while time.monotonic() < until and not device.lost:
        device.publish()
        await asyncio.sleep(interval_s)


async def main(where: str, count: int, seconds: float, interval_s: float, byte_count: int, window: int) -> None:
    host, _, port = where.rpartition(":")
    devices: list[Device] = []
    for start in range(0, count, 50):
        group = range(start, min(start + 50, count))
        devices += await asyncio.gather(*(_dial(host, int(port), number, byte_count - 60) for number in group))
    sys.stdout.write("connected\n")
    sys.stdout.flush()
    await asyncio.sleep(2)
    until = time.monotonic() + seconds
    if interval_s:
        await asyncio.gather(*(_paced(device, until, interval_s) for device in devices))
    else:
        for device in devices:
            device.saturate_until = until
            for _ in range(window):
                device.publish()
        await asyncio.sleep(seconds)
    await asyncio.sleep(1)
    latencies = sorted(one for device in devices for one in device.latencies)
    figures = {
        "acknowledged": len(latencies),
        "lost": sum(device.lost for device in devices),
        "median_ms": statistics.median(latencies) if latencies else None,
        "p99_ms": latencies[int(len(latencies) * 0.99)] if latencies else None,
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    for device in devices:
        device.close()


if __name__ == "__main__":
    where, count, seconds, interval_s, *rest = sys.argv[1:]
    sizes = [int(one) for one in rest] + [700, 20][len(rest) :]
    asyncio.run(main(where, int(count), float(seconds), float(interval_s), sizes[0], sizes[1]))
