"""Cameras that are asked, for tests: their settings, their tasks, and a camera with another picture each time."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from adapters.camera_pull.camera import PulledCamera
from gateway.settings import CameraPullSettings
from tests.fakes.raw_camera import PICTURE, answer


def settings(*urls: str, camera: dict[str, object] | None = None, **pull: object) -> CameraPullSettings:
    given = {"interval_s": 0.05, "timeout_s": 5, **(camera or {})}
    cameras = [{"url": url, "device_id": f"cam-{n}", **given} for n, url in enumerate(urls)]
    return CameraPullSettings.model_validate({"camera": cameras, **pull})


@asynccontextmanager
async def running(cameras: Sequence[PulledCamera]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(camera.run()) for camera in cameras]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


async def until(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while not holds():
        assert asyncio.get_running_loop().time() < deadline_s, "not in time"
        await asyncio.sleep(0.005)


def numbered() -> Callable[[str], bytes]:
    """Answer with another picture each time: the same, and a number behind its end... which would be cut off."""
    numbers = itertools.count()

    def answers(_: str) -> bytes:
        # A comment segment (T.81, B.2.4.5) makes other bytes of the same picture.
        return answer(PICTURE[:2] + b"\xff\xfe\x00\x06%04d" % next(numbers) + PICTURE[2:])

    return answers
