"""The adapter of pulled cameras: a task for each camera, all within one bound of pictures at once.

A camera that fails is that camera's matter; the adapter itself fails only by a bug, and is then started again with
its cameras as they are.
"""

import asyncio
import random
from collections.abc import Callable, Sequence

from adapters.camera_pull.camera import PulledCamera
from gateway.errors import AdapterUnavailable, CommandUnknown
from gateway.messages import DeviceCommand
from gateway.ports import Adapter, Clock, Intake, Meter, StatusSink
from gateway.settings import CameraPullSettings, LimitsSettings

PHOTO = "photo"
# Well below what the command desk gives a face: others wait for it. A slower camera is found done the next time.
PHOTO_WAIT_S = 3.0
# More commands than this at once for cameras that are slow: the oldest are asked for anew.
PHOTOS_MAX = 64


class CameraPullAdapter:
    """Implements ports.Adapter and ports.CommandTarget."""

    name = "camera_pull"

    def __init__(self, build: Callable[[], Sequence[PulledCamera]]) -> None:
        self._build = build
        self._cameras: dict[str, PulledCamera] = {}
        self._tasks: dict[asyncio.Task[None], PulledCamera] = {}
        self._photos: dict[str, asyncio.Task[bool]] = {}

    async def start(self) -> None:
        """Return when the cameras' times run. Raises AdapterUnavailable for a file that can't be used."""
        if not self._cameras:
            self._cameras = {camera.device_id: camera for camera in self._build()}
        self._tasks = {
            asyncio.create_task(camera.run(), name=f"camera {camera.device_id}"): camera
            for camera in self._cameras.values()
        }

    async def failed(self) -> None:
        """Raise AdapterUnavailable when a camera's task broke; never return otherwise."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise AdapterUnavailable(f"{task.get_name()} broke: {error!r}") from error
        await asyncio.Event().wait()

    async def stop(self, deadline_s: float) -> None:
        """Ask no camera any more; let the intake finish what is whole."""
        for photo in self._photos.values():
            photo.cancel()
        self._photos.clear()
        tasks, self._tasks = self._tasks, {}
        for task, camera in tasks.items():
            camera.stop()
            if not camera.is_handing_in:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=deadline_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def tell(self, command: DeviceCommand) -> bool:
        """Take a photo now: True when it was handed in, False until then. Raises CommandUnknown.

        Asked again under the same ``command_id`` it goes on waiting for the same photo, unless that failed.
        """
        camera = self._cameras.get(command.device_id)
        if camera is None:
            return False
        if command.name != PHOTO:
            raise CommandUnknown(f"a pulled camera knows the command {PHOTO} only")
        photo = self._photos.pop(command.command_id, None)
        if photo is None:
            if camera.is_backing_off or not self._tasks:
                return False
            photo = asyncio.create_task(camera.photo(), name=f"photo {command.device_id}")
        await asyncio.wait({photo}, timeout=PHOTO_WAIT_S)
        if photo.done():
            return not photo.cancelled() and photo.result()
        self._photos[command.command_id] = photo
        while len(self._photos) > PHOTOS_MAX:
            self._photos.pop(next(iter(self._photos))).cancel()
        return False

    def describe(self) -> str:
        """Return how many cameras there are."""
        count = len(self._cameras)
        return f"{count} camera{'' if count == 1 else 's'} asked for pictures"


def create_camera_pull_adapter(
    *,
    settings: CameraPullSettings,
    limits: LimitsSettings,
    intake: Intake,
    meter: Meter,
    clock: Clock,
    status: StatusSink,
) -> Adapter:
    """Return an adapter that is not started. Its start reads the password and certificate files."""

    def build() -> Sequence[PulledCamera]:
        from adapters.camera_pull.building import build_cameras

        return build_cameras(
            settings=settings,
            limits=limits,
            intake=intake,
            meter=meter,
            clock=clock,
            status=status,
            rng=random.Random(),  # noqa: S311  jitter, no secret
        )

    return CameraPullAdapter(build)
