"""The cameras that were seen, through all their links; and what has half come from those that are away.

A framing that can resume keeps its half picture when the link is lost. What the linked ones hold is bounded by
``ble.connections_max`` times ``ble.image_bytes_max``; of those that are away, at most HALVES_MAX halves of
``ble.resume_bytes_max`` in all are kept, for ``ble.resume_keep_s``. The longest away is dropped first, and counted.
"""

from collections.abc import Callable

from adapters.ble.camera import Camera
from adapters.ble.directory import KnownDevice
from adapters.ble.profiles import Profile
from gateway.ports import Clock

# Cameras that are remembered: about 10 kB each (a framing, its last 16 outcomes), beside their halves. Sites have a
# dozen; strangers under ever new addresses must not fill the memory.
CAMERAS_MAX = 64
# A device resumes when it is back in reach, within minutes: more halves than that are of devices that will not.
HALVES_MAX = 16


class Cameras:
    """By address, the one linked last at the end."""

    def __init__(
        self,
        *,
        create: Callable[[KnownDevice, Profile], Camera],
        resume_bytes_max: int,
        resume_keep_s: float,
        clock: Clock,
    ) -> None:
        self._create = create
        self._resume_bytes_max = resume_bytes_max
        self._resume_keep_s = resume_keep_s
        self._clock = clock
        self._cameras: dict[str, Camera] = {}

    def of(self, known: KnownDevice, profile: Profile) -> Camera:
        """Return the device's camera, which is about to be linked; a new one if its profile is another now."""
        camera = self._cameras.pop(known.address, None)
        if camera is None or camera.profile != profile:
            if camera is not None:
                camera.forget("gap", "the device is of another profile now")
            camera = self._create(known, profile)
        self._make_room()
        self._cameras[known.address] = camera
        return camera

    def linked(self, device_id: str) -> Camera | None:
        """Return the camera of that device which is linked. One that changes its address has a camera for each."""
        cameras = self._cameras.values()
        return next((camera for camera in cameras if camera.device_id == device_id and camera.is_linked), None)

    def trim(self) -> None:
        """Drop the halves that are too old, too many or too large; call it after each link, and now and then."""
        now_s = self._clock.monotonic()
        away = sorted((one for one in self._cameras.values() if self._is_half_away(one)), key=lambda one: one.left_s)
        while away and now_s - away[0].left_s >= self._resume_keep_s:
            away.pop(0).forget("idle_timeout", f"the device stayed away for {self._resume_keep_s:g} s")
        while len(away) > HALVES_MAX or sum(one.held_bytes for one in away) > self._resume_bytes_max:
            away.pop(0).forget("no_room", "other devices left halves, too (ble.resume_bytes_max)")

    def _is_half_away(self, camera: Camera) -> bool:
        return not camera.is_linked and camera.held_bytes > 0

    def _make_room(self) -> None:
        away = [address for address, camera in self._cameras.items() if not camera.is_linked]
        for address in away[: max(len(self._cameras) + 1 - CAMERAS_MAX, 0)]:
            self._cameras.pop(address).forget("no_room", f"{CAMERAS_MAX} other devices were linked since")
