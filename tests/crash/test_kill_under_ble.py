"""kill -9 of the whole gateway while a Bluetooth device hands pictures over: each is one event, and none is missing.

The device is simulated on a fake BlueZ of the test's process, so its link outlives the gateway, as it does for real.
Half of the kills hit a picture on its way, half the time right after a commit. ``SOAK_ROUNDS`` sets how often.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.fakes.ble_site import Image1Device, ble_site, image1_device, needs_dbus_daemon, until
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.ledger import assert_gap_free, stored
from tests.fakes.pictures import small_picture

pytestmark = needs_dbus_daemon

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "8"))
PER_ROUND = 3


def on_disk(device: Image1Device) -> set[str]:
    return {str(one) for one in device.firmware.on_disk}


async def _picture_on_its_way(device: Image1Device) -> None:
    before = device.firmware.sent_chunks
    await until(lambda: device.firmware.sent_chunks > before, "a picture on its way")


async def _commit(device: Image1Device) -> None:
    before = len(on_disk(device))
    await until(lambda: len(on_disk(device)) > before, "a commit")


@pytest.mark.timeout(120 + 30 * ROUNDS)
async def test_every_picture_is_one_event_whenever_the_gateway_is_killed(tmp_path: Path) -> None:
    rng = random.Random(4)
    environment = {"GATEWAY_BLE__ENABLED": "true", "GATEWAY_BLE__UNLISTED_CAMERAS": "true"}
    async with ble_site(tmp_path) as site:
        # Slow enough that a kill meets pictures on their way: some 40 notifications each.
        device = image1_device(mtu=23, pause_s=0.003)
        site.bluez.add(device.camera)
        gateway = GatewayProcess(tmp_path / "data", environment=environment)
        cut = 0
        for number in range(ROUNDS):
            await asyncio.to_thread(gateway.start)
            for one in range(PER_ROUND):
                device.offer(1 + number * PER_ROUND + one, small_picture(number * PER_ROUND + one))
            await (_picture_on_its_way(device) if number % 2 else _commit(device))
            await asyncio.sleep(rng.random() * 0.1 if number % 2 else 0)
            cut += bool(device.firmware.kept)
            await asyncio.to_thread(gateway.kill)
            assert on_disk(device) <= set(stored(tmp_path / "data"))
        await asyncio.to_thread(gateway.start)
        await until(lambda: not device.firmware.kept, "the rest")
        await asyncio.to_thread(gateway.stop)
    offered = {str(number) for number in range(1, 1 + ROUNDS * PER_ROUND)}
    events = stored(tmp_path / "data")
    assert set(events) == on_disk(device) == offered
    assert_gap_free(events.values())
    assert cut >= ROUNDS // 2, "most kills hit a picture on its way"
