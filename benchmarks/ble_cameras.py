"""The other end of the BLE benchmark: a bus, a fake bluetoothd and cameras of ``gateway-image-1``, in one process.

Usage: ``python -m benchmarks.ble_cameras FOLDER CAMERAS MTU BYTES_PER_S PICTURE``; 0 bytes/s: as fast as the bus takes
them. Prints the bus's address. Then each line N read makes every camera hand over the picture N times, each announced
when the last was settled; prints a JSON line when all are. N = 0 drops the links. The clock is the devices': from the
first announcement to the last status, the same for whoever receives.
"""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from gateway.simulators.bluez.bluetoothd import FakeBluetoothd
from gateway.simulators.bluez.camera import SimulatedCamera
from gateway.simulators.bluez.peripheral import Air
from gateway.simulators.bluez.private_bus import PrivateBus
from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera

# A sleep takes a millisecond or two whatever was asked for: a camera sends this much ahead, then waits for the rest.
AHEAD_S = 0.005


class PacedAir:
    """Implements Air over another: ``room`` keeps the pace."""

    def __init__(self, air: Air, bytes_per_s: int) -> None:
        self._air = air
        self._s_per_byte = 1 / bytes_per_s if bytes_per_s else 0.0
        self._due_s = 0.0

    def notify(self, uuid: str, data: bytes) -> bool:
        self._due_s = max(self._due_s, time.monotonic()) + len(data) * self._s_per_byte
        return self._air.notify(uuid, data)

    def drop(self) -> None:
        self._air.drop()

    async def room(self) -> None:
        await self._air.room()
        ahead_s = self._due_s - time.monotonic()
        if ahead_s > AHEAD_S:
            await asyncio.sleep(ahead_s)


@dataclass(kw_only=True, eq=False)
class PacedCamera(SimulatedCamera):
    """One with a pace. ``listened_to``: somebody has spoken to it since the link was made."""

    bytes_per_s: int
    listened_to: bool = False

    def connected(self, air: Air) -> None:
        super().connected(PacedAir(air, self.bytes_per_s))

    def disconnected(self) -> None:
        self.listened_to = False
        super().disconnected()

    def wrote(self, uuid: str, data: bytes) -> None:
        self.listened_to = True
        super().wrote(uuid, data)


class Site:
    """The cameras on their bus."""

    def __init__(self, bluez: FakeBluetoothd, *, cameras: int, mtu: int, bytes_per_s: int, picture: bytes) -> None:
        self._bluez = bluez
        self._picture = picture
        self._firmware = [GatewayImage1Camera(iter(())) for _ in range(cameras)]
        self._cameras = [
            PacedCamera(address=address_of(number), firmware=firmware, mtu=mtu, bytes_per_s=bytes_per_s)
            for number, firmware in enumerate(self._firmware)
        ]
        bluez.add(*self._cameras)

    def drop(self) -> None:
        """End every link."""
        for one in self._cameras:
            self._bluez.drop(one)

    async def hand_over(self, pictures: int) -> float:
        """Return the seconds that it took until every camera was told about so many."""
        while not all(one.listened_to for one in self._cameras):  # noqa: ASYNC110 -- another process comes
            await asyncio.sleep(0.02)
        for firmware in self._firmware:
            firmware.statuses.clear()
        started = time.monotonic()
        for camera, firmware in zip(self._cameras, self._firmware, strict=True):
            for _ in range(pictures):
                camera.send(firmware.offer(self._picture))
        while any(one.kept for one in self._firmware):  # noqa: ASYNC110 -- a round takes seconds, this a millisecond
            await asyncio.sleep(0.001)
        seconds = time.monotonic() - started
        assert all(len(one.on_disk) == pictures for one in self._firmware), "not every picture was told to be on disk"
        return seconds


async def main(folder: Path, cameras: int, mtu: int, bytes_per_s: int, picture: bytes) -> None:
    """Serve rounds until standard input ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with AsyncExitStack() as stack:
        bus = PrivateBus(folder)
        await bus.start()
        stack.push_async_callback(bus.kill)
        bluez = FakeBluetoothd(bus.address)
        await bluez.start()
        stack.push_async_callback(bluez.stop)
        site = Site(bluez, cameras=cameras, mtu=mtu, bytes_per_s=bytes_per_s, picture=picture)
        print(bus.address, flush=True)
        while line := await reader.readline():
            if not int(line):
                site.drop()
            print(json.dumps({"seconds": await site.hand_over(int(line)) if int(line) else 0}), flush=True)


def address_of(number: int) -> str:
    """Return the address of a camera, so that both ends know it."""
    return f"AA:BB:CC:DD:EE:{number:02X}"


if __name__ == "__main__":
    _cameras, _mtu, _bytes_per_s = map(int, sys.argv[2:5])
    asyncio.run(main(Path(sys.argv[1]), _cameras, _mtu, _bytes_per_s, Path(sys.argv[5]).read_bytes()))
