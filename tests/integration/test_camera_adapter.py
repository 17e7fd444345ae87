"""The adapter of the cameras that are asked: commands for them, its end and its bugs."""

import asyncio

import pytest

from adapters.camera_pull.adapter import CameraPullAdapter
from gateway.errors import (
    AdapterUnavailable,
    CommandUnknown,
)
from gateway.messages import DeviceCommand
from tests.fakes.intake import FakeIntake
from tests.fakes.pulled_cameras import settings, until
from tests.fakes.raw_camera import Watched, answer, raw_camera, watched


def adapter_of(site: Watched) -> CameraPullAdapter:
    return CameraPullAdapter(lambda: site.cameras)


def command(name: str = "photo", *, device_id: str = "cam-0", command_id: str = "c1") -> DeviceCommand:
    return DeviceCommand(command_id=command_id, device_id=device_id, name=name)


async def test_photo_on_command_is_handed_in_also_if_it_is_unchanged() -> None:
    intake = FakeIntake()
    async with raw_camera(answer()) as camera:
        adapter = adapter_of(watched(settings(camera.url, camera={"interval_s": 0}), intake))
        await adapter.start()
        try:
            assert await adapter.tell(command())
            assert await adapter.tell(command(command_id="c2"))
            assert not await adapter.tell(command(device_id="another"))
            with pytest.raises(CommandUnknown, match="photo"):
                await adapter.tell(command("reboot"))
        finally:
            await adapter.stop(1)
    assert len(intake.events) == len(camera.asked) == 2


async def test_a_slow_camera_takes_one_photo_for_a_command_that_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.camera_pull.adapter.PHOTO_WAIT_S", 0.05)
    intake = FakeIntake()
    async with raw_camera(answer(), pause_s=0.1, piece_bytes=2000) as camera:
        adapter = adapter_of(watched(settings(camera.url, camera={"interval_s": 0}), intake))
        await adapter.start()
        try:
            tries = 1
            while not await adapter.tell(command()):
                tries += 1
        finally:
            await adapter.stop(1)
    assert tries > 1
    assert len(camera.asked) == 1


async def test_a_camera_that_failed_is_not_there_for_commands_until_it_may_be_asked_again() -> None:
    async with raw_camera(b"") as camera:
        adapter = adapter_of(watched(settings(camera.url, camera={"interval_s": 0}), FakeIntake()))
        await adapter.start()
        try:
            assert not await adapter.tell(command())
            assert not await adapter.tell(command())
            assert len(camera.asked) == 1
        finally:
            await adapter.stop(1)


async def test_stop_lets_the_intake_finish_and_leaves_nothing_behind() -> None:
    intake = FakeIntake(submit_s=0.3)
    async with raw_camera(answer()) as camera, raw_camera(b"", stays_open=True) as silent:
        site = watched(settings(camera.url, silent.url), intake)
        adapter = adapter_of(site)
        before = len(asyncio.all_tasks())
        await adapter.start()
        assert adapter.describe() == "2 cameras asked for pictures"
        await until(lambda: len(intake.submissions) == 1 and silent.open_connections == 1)
        await adapter.stop(5)
        await until(lambda: silent.open_connections == 0)
        assert len(asyncio.all_tasks()) <= before + 2  # the raw cameras' own
    assert len(intake.events) == 1
    assert intake.places_held == 0


async def test_a_bug_in_one_camera_ends_the_adapter_which_says_whose(monkeypatch: pytest.MonkeyPatch) -> None:
    site = watched(settings("http://10.0.0.1/", "http://10.0.0.2/"), FakeIntake())
    monkeypatch.setattr(site.cameras[1], "_rest", None)
    adapter = adapter_of(site)
    await adapter.start()
    try:
        async with asyncio.timeout(10):
            with pytest.raises(AdapterUnavailable, match="camera cam-1 broke"):
                await adapter.failed()
    finally:
        await adapter.stop(1)


async def test_a_stopped_adapter_starts_again_and_knows_what_it_knew() -> None:
    intake = FakeIntake()
    async with raw_camera(answer()) as camera:
        site = watched(settings(camera.url), intake)
        adapter = adapter_of(site)
        for _ in range(2):
            await adapter.start()
            asked = len(camera.asked)
            await until(lambda asked=asked: len(camera.asked) >= asked + 2)  # type: ignore[misc]
            await adapter.stop(1)
    assert len(intake.events) == 1
