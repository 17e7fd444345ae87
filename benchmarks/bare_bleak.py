"""The bare limit of BLE: bleak, and a notification callback that does nothing with a picture's bytes.

It says what a device of ``gateway-image-1`` must hear to go on (send all, thank you) and keeps nothing: no chunk is
looked at beyond its first byte, nothing is put together, checked, classified or stored.

Usage: ``python -m benchmarks.bare_bleak CAMERAS``; ends when killed.
"""

import asyncio
import sys

from bleak import BleakClient, BleakScanner
from bleak.backends.characteristic import BleakGATTCharacteristic

from adapters.ble.image1 import (
    VERSION,
    Announce,
    Hello,
    Range,
    Request,
    Status,
    StatusCode,
    encode_from_gateway,
    parse_from_device,
)
from benchmarks.ble_cameras import address_of
from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera

CHUNK = 0x02
UUIDS = {row.role: row.uuid for row in GatewayImage1Camera.characteristics}


async def _serve(address: str) -> None:
    answers: asyncio.Queue[bytes] = asyncio.Queue()
    announced: list[Announce] = []

    def notified(_: BleakGATTCharacteristic, data: bytearray) -> None:
        if data[0] == CHUNK:
            return
        packet = parse_from_device(bytes(data))
        if isinstance(packet, Announce):
            announced[:] = [packet]
            everything = (Range(first=0, count=packet.chunks),)
            answers.put_nowait(encode_from_gateway(Request(id_low=packet.transfer_id & 0xFF, ranges=everything)))
        elif announced:
            status = Status(code=StatusCode.ON_DISK, transfer_id=announced[0].transfer_id)
            answers.put_nowait(encode_from_gateway(status))

    device = await BleakScanner.find_device_by_address(address, timeout=20)
    assert device is not None, f"{address} is not in reach"
    async with BleakClient(device) as client:
        await client.start_notify(UUIDS["data"], notified, bluez={"use_start_notify": True})
        control = client.services.get_characteristic(UUIDS["control"])
        assert control is not None, "no control characteristic"
        data = client.services.get_characteristic(UUIDS["data"])
        assert data is not None, "no data characteristic"
        room = min(control.max_write_without_response_size, data.max_write_without_response_size)
        answers.put_nowait(encode_from_gateway(Hello(version=VERSION, notification_bytes_max=room)))
        while True:
            await client.write_gatt_char(control, await answers.get(), response=True)


async def main(cameras: int) -> None:
    """Connect one after the other, as bluetoothd likes it, and serve."""
    async with asyncio.TaskGroup() as tasks:
        for number in range(cameras):
            tasks.create_task(_serve(address_of(number)))
            await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
