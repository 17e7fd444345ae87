"""kill -9 of the whole gateway while Bluetooth devices hand pictures over.

The devices are simulated on a fake BlueZ of the test's process, so their links outlive the gateway, as they do for
real. Kills come in turn: while a picture is on its way; after its commit, whose status the device never hears; right
after a status. ``SOAK_ROUNDS`` sets how often (8 by default).
"""

import asyncio
import hashlib
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import pytest

from adapters.ble.image1 import Status, parse_from_gateway
from gateway.simulators.bluez.camera import SimulatedCamera
from gateway.simulators.devices.ble_cameras import CAMERAS
from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera
from tests.fakes.ble_site import ble_site, needs_dbus_daemon, until
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.ledger import assert_gap_free, stored
from tests.fakes.pictures import small_picture

pytestmark = needs_dbus_daemon

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "8"))
PER_ROUND = 3
# Not among those of the device with ids, which begin with number 0.
CAM_PICTURE, GLASS_PICTURE = small_picture(60_001), small_picture(60_002)
ENVIRONMENT = {"GATEWAY_BLE__ENABLED": "true", "GATEWAY_BLE__UNLISTED_CAMERAS": "true"}


@dataclass(kw_only=True, eq=False)
class HalfDeafCamera(SimulatedCamera):
    """While ``deaf`` no status reaches it: its link broke in that moment."""

    deaf: bool = False

    def wrote(self, uuid: str, data: bytes) -> None:
        if not (self.deaf and isinstance(parse_from_gateway(data), Status)):
            super().wrote(uuid, data)


class Devices:
    """One with ids, and two without: one that hears an acknowledgement, one that hears nothing."""

    def __init__(self) -> None:
        self.firmware = GatewayImage1Camera(iter(()))
        self.photos_before = (0, 0)  # of the two without ids, when this life of the gateway began
        # Slow enough that a kill meets pictures on their way: some 40 notifications each.
        self.named = HalfDeafCamera(address="AA:BB:CC:DD:EE:01", firmware=self.firmware, mtu=23, pause_s=0.003)
        self.cam = _camera("esp32cam-cafebabe", CAM_PICTURE, address="AA:BB:CC:DD:EE:02")
        self.glass = _camera("openglass", GLASS_PICTURE, address="AA:BB:CC:DD:EE:03")

    @property
    def on_disk(self) -> set[str]:
        """The ids whose status said so."""
        return {str(one) for one in self.firmware.on_disk}


def _camera(profile: str, picture: bytes, *, address: str) -> SimulatedCamera:
    firmware = CAMERAS[profile](repeat(picture))
    return SimulatedCamera(address=address, firmware=firmware, mtu=23, pause_s=0.003)


async def _picture_on_its_way(devices: Devices, _: Path) -> None:
    before = devices.firmware.sent_chunks
    await until(lambda: devices.firmware.sent_chunks > before, "a picture on its way")
    await asyncio.sleep(random.Random(before).random() * 0.1)


async def _commit_that_nobody_hears_of(devices: Devices, data_dir: Path) -> None:
    devices.named.deaf = True
    await until(lambda: len(_named(data_dir)) > len(devices.on_disk), "a commit")


async def _status(devices: Devices, _: Path) -> None:
    before = len(devices.on_disk)
    await until(lambda: len(devices.on_disk) > before, "a status")


async def _photo_without_id(devices: Devices, _: Path) -> None:
    before = devices.photos_before  # a camera sends one when it is connected, which may be early in this life
    await until(lambda: devices.cam.photos > before[0] and devices.glass.photos > before[1], "photos begun")
    await asyncio.sleep(random.Random(sum(before)).random() * 0.1)


MOMENTS: tuple[Callable[[Devices, Path], Awaitable[None]], ...] = (
    _picture_on_its_way,
    _commit_that_nobody_hears_of,
    _status,
    _photo_without_id,
)


@pytest.mark.timeout(120 + 30 * ROUNDS)
async def test_every_picture_is_one_event_whenever_the_gateway_is_killed(tmp_path: Path) -> None:
    data_dir, devices = tmp_path / "data", Devices()
    named, cam, glass = devices.named, devices.cam, devices.glass
    async with ble_site(tmp_path) as site:
        site.bluez.add(named, cam, glass)
        gateway = GatewayProcess(data_dir, environment=ENVIRONMENT)
        cut = unheard = 0
        for number in range(ROUNDS):
            named.deaf = False
            devices.photos_before = cam.photos, glass.photos
            await asyncio.to_thread(gateway.start)
            for one in range(PER_ROUND):
                picture = small_picture(number * PER_ROUND + one)
                named.send(devices.firmware.offer(picture, transfer_id=1 + number * PER_ROUND + one))
            await MOMENTS[number % len(MOMENTS)](devices, data_dir)
            cut += bool(devices.firmware.kept)
            await asyncio.to_thread(gateway.kill)
            assert devices.on_disk <= _named(data_dir), "told to be on disk"
            assert cam.firmware.acknowledged <= _events(data_dir, CAM_PICTURE), "acknowledged after the commit"
            unheard += len(_named(data_dir)) > len(devices.on_disk)
        named.deaf = False
        before = _events(data_dir, CAM_PICTURE), _events(data_dir, GLASS_PICTURE)
        await asyncio.to_thread(gateway.start)
        await until(lambda: not devices.firmware.kept, "the rest")
        await until(lambda: _events(data_dir, CAM_PICTURE) > before[0], "a picture of one without ids")
        await until(lambda: _events(data_dir, GLASS_PICTURE) > before[1], "a picture of the other")
        await asyncio.to_thread(gateway.stop)
    offered = {str(number) for number in range(1, 1 + ROUNDS * PER_ROUND)}
    assert _named(data_dir) == devices.on_disk == offered
    assert max(_count(data_dir, "submission_id").values()) == 1, "one event each"
    assert _events(data_dir, CAM_PICTURE) <= cam.photos
    assert _events(data_dir, GLASS_PICTURE) <= glass.photos
    whole = {_sha256(CAM_PICTURE), _sha256(GLASS_PICTURE), *(_sha256(small_picture(n)) for n in range(len(offered)))}
    assert set(_count(data_dir, "payload_sha256")) == whole, "no half picture is an event"
    assert_gap_free(stored(data_dir).values())
    assert cut >= ROUNDS // 2, "most kills hit a picture on its way"
    assert unheard >= ROUNDS // 4, "a quarter of the kills came between a commit and its status"


def _named(data_dir: Path) -> set[str]:
    """Return the submission ids that are numbers: the device's own, not those minted here."""
    return {one for one in stored(data_dir) if one.isdecimal()}


def _sha256(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()


def _events(data_dir: Path, picture: bytes) -> int:
    return _count(data_dir, "payload_sha256")[_sha256(picture)]


def _count(data_dir: Path, column: str) -> Counter[str]:
    """Return how many events have each value, read from the file as any reader would."""
    if not (data_dir / "outbox.db").exists():
        return Counter()
    with closing(sqlite3.connect(f"file:{data_dir / 'outbox.db'}?mode=ro", uri=True)) as connection:
        return Counter(value for (value,) in connection.execute(f"SELECT {column} FROM events"))
