"""The shares that gateway/memory_shares.py reckons with are what a real gateway takes when everything is full."""

import asyncio
import re
from pathlib import Path

from adapters.mqtt.chunks import split_picture
from adapters.mqtt.codec_fields import write_text, write_variable
from adapters.mqtt.codec_packets import Puback
from gateway.memory_shares import face_shares
from gateway.settings import MIB, Settings
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.mqtt_device import RawDevice
from tests.fakes.mqtt_load import picture

LARGEST = 8 * MIB
WAITING = 6
# Allocators and the interpreter's own free lists; not what is counted.
SLACK_MIB = 6


def resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def largest_picture_but_its_last_byte() -> bytes:
    body = write_text("devices/cam-1/images") + b"\x00\x01" + bytes(LARGEST)
    return b"\x32" + write_variable(len(body)) + body[:-1]


async def begin_pictures(port: int, count: int) -> list[RawDevice]:
    """Devices that each have sent almost all of a largest picture, or as much as the gateway takes."""
    devices = [await RawDevice.connect(port, f"stuck-{n}") for n in range(count)]
    for device in devices:
        device.send_bytes(largest_picture_but_its_last_byte())
    await asyncio.sleep(1.5)
    return devices


async def fill_chunks(device: RawDevice) -> None:
    """Leave pictures unfinished, more than may be held: of each the first chunk of two."""
    for picture_id in range(12):
        first, _ = split_picture(bytes(500_000), picture_id=picture_id, data_bytes=499_999)
        device.publish(first, topic="devices/cam-1/chunks", packet_id=7)
        assert await device.receive() == Puback(packet_id=7)


async def test_a_listener_that_is_full_takes_no_more_than_its_share_and_gives_it_back(tmp_path: Path) -> None:
    shares = {share.name: share.byte_count / MIB for share in face_shares(Settings()) if "MQTT" in share.name}
    with GatewayProcess(tmp_path / "data") as gateway:
        port = int(gateway.mqtt.rpartition(":")[2])
        async with await RawDevice.connect(port, "cam-1") as device:
            device.publish(picture(1), topic="devices/cam-1/images")
            assert await device.receive() == Puback(packet_id=1)  # what is loaded at the first picture is there
            before = resident_mib(gateway.worker_pid)
            await fill_chunks(device)
            stuck = await begin_pictures(port, 2 + WAITING)
            grown = resident_mib(gateway.worker_pid) - before
            for one in stuck:
                one.abort()
            await asyncio.sleep(1.5)
            left = resident_mib(gateway.worker_pid) - before
    partials = shares["unfinished MQTT pictures at the listener"]
    filled = shares["MQTT messages coming to the listener"] + partials
    assert 0.85 * filled <= grown <= sum(shares.values()), f"{grown:.1f} of {shares}"
    assert left < partials + SLACK_MIB, f"{left:.1f} MiB were kept"
