"""The other end of the BLE benchmark: a bus, a fake bluetoothd and cameras of ``gateway-image-1``, in one process.

Usage: ``python -m benchmarks.ble_cameras FOLDER CAMERAS MTU BYTES_PER_S PICTURE``; 0 bytes/s: as fast as the bus takes
them. Prints the bus's address. Then each line N read makes every camera hand over the picture N times, each announced
when the last was settled; prints a JSON line when all are. The clock is the devices': from the first announcement to
the last status, the same for whoever receives.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from adapters.ble.image1 import Chunk, End, Request, StatusCode, encode_from_device
from tests.fakes.bluez.bluetoothd import FakeBluetoothd
from tests.fakes.bluez.cameras import IMAGE1_DATA, GatewayImage1Camera
from tests.fakes.bluez.private_bus import private_bus

# A connection interval carries a handful of notifications; a camera at a given pace sends this many at a time.
BURST = 4


@dataclass(kw_only=True, eq=False)
class PacedCamera(GatewayImage1Camera):
    """Encodes its chunks before it sends them, and sends them at a pace."""

    bytes_per_s: int = 0
    listened_to: bool = False

    def wrote(self, uuid: str, data: bytes) -> None:
        self.listened_to = True
        super().wrote(uuid, data)

    def disconnected(self) -> None:
        self.listened_to = False
        super().disconnected()

    async def _answer(self, request: Request) -> None:
        transfer_id, _, payload = self.queue[0]
        size, low = self._chunk_bytes, transfer_id & 0xFF
        wanted = [index for one in request.ranges for index in range(one.first, one.first + one.count)]
        frames = [
            encode_from_device(Chunk(id_low=low, index=index, data=payload[index * size : (index + 1) * size]))
            for index in wanted
        ]
        self.sent_chunks += len(frames)
        await self._send_paced(frames)
        await self.send(IMAGE1_DATA, [encode_from_device(End(id_low=low))])

    async def _send_paced(self, frames: list[bytes]) -> None:
        if not self.bytes_per_s:
            await self.send(IMAGE1_DATA, frames)
            return
        due = asyncio.get_running_loop().time()
        for at in range(0, len(frames), BURST):
            burst = frames[at : at + BURST]
            await self.send(IMAGE1_DATA, burst)
            due += sum(map(len, burst)) / self.bytes_per_s
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))


async def main(folder: Path, cameras: int, mtu: int, bytes_per_s: int, picture: bytes) -> None:
    """Serve rounds until standard input ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with private_bus(folder) as bus:
        bluez = FakeBluetoothd(bus.address)
        await bluez.start()
        made = [PacedCamera(address=address_of(number), mtu=mtu, bytes_per_s=bytes_per_s) for number in range(cameras)]
        bluez.add(*made)
        print(bus.address, flush=True)
        next_id = 1
        while line := await reader.readline():
            count = int(line)
            if not count:
                for one in made:
                    bluez.drop(bluez.path(one))
            print(json.dumps({"seconds": await _round(made, count, next_id, picture) if count else 0}), flush=True)
            next_id += count
        await bluez.stop()


async def _round(cameras: list[PacedCamera], count: int, first_id: int, picture: bytes) -> float:
    while not all(one.listened_to for one in cameras):  # noqa: ASYNC110 -- two processes
        await asyncio.sleep(0.02)
    for one in cameras:
        one.statuses.clear()
    started = time.monotonic()
    for one in cameras:
        for number in range(count):
            one.offer(first_id + number, picture)
    while any(one.queue for one in cameras):  # noqa: ASYNC110 -- the round takes seconds, this a millisecond
        await asyncio.sleep(0.001)
    seconds = time.monotonic() - started
    assert all({status.code for status in one.statuses} == {StatusCode.ON_DISK} for one in cameras), "not all on disk"
    return seconds


def address_of(number: int) -> str:
    """Return the address of a camera, so that both ends know it."""
    return f"AA:BB:CC:DD:EE:{number:02X}"


if __name__ == "__main__":
    _cameras, _mtu, _bytes_per_s = map(int, sys.argv[2:5])
    asyncio.run(main(Path(sys.argv[1]), _cameras, _mtu, _bytes_per_s, Path(sys.argv[5]).read_bytes()))
