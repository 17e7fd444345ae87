"""The demo's Bluetooth: cameras, a beacon and a thermometer on a simulated BlueZ, where this machine can have one."""

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gateway.errors import OperatorError
from gateway.simulators.demo.gallery import Gallery
from gateway.simulators.demo.logbook import Logbook
from gateway.simulators.demo.options import DemoOptions

if TYPE_CHECKING:
    from gateway.simulators.bluez.site import SimulatedBleSite

# One whose protocol has a word for "on disk", and one that just sends.
PROFILES = ("gateway-image-1", "openglass")
# BLE is slow, and a photo takes its time.
INTERVAL_FACTOR = 3


class DemoRadio:
    """An async context manager. ``environment`` points a gateway at it; ``missing`` says why there is none."""

    def __init__(self, logbook: Logbook, options: DemoOptions, gallery: Gallery) -> None:
        self._logbook = logbook
        self._options = options
        self._gallery = gallery
        self._stack = contextlib.AsyncExitStack()
        self._site: SimulatedBleSite | None = None
        self.missing = ""

    @property
    def environment(self) -> Mapping[str, str]:
        """What the gateway needs in its environment."""
        return {} if self._site is None else self._site.environment()

    async def __aenter__(self) -> Self:
        try:
            from gateway.simulators.bluez.site import BleSiteOptions, simulated_ble_site

            options = BleSiteOptions(
                pictures=self._gallery.shots,
                cameras=PROFILES,
                interval_s=self._options.interval_s * INTERVAL_FACTOR,
                tell=self._told,
            )
            for profile in PROFILES:
                self._logbook.enter(profile, "Bluetooth", is_told=profile == PROFILES[0])
            self._site = await self._stack.enter_async_context(simulated_ble_site(options))
        except (OperatorError, ImportError) as error:
            self.missing = f"Bluetooth: {error}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Switch the radio off. Safe to call twice."""
        self.write_down()
        self._site = None
        await self._stack.aclose()

    def write_down(self) -> None:
        """Note which pictures the cameras were told are on disk."""
        from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera

        for camera in () if self._site is None else self._site.cameras:
            if isinstance(camera.firmware, GatewayImage1Camera):
                for number in camera.firmware.on_disk:
                    self._logbook.accepted(camera.name, str(number), None, "on disk")

    def _told(self, line: str) -> None:
        device_id, _, what = line.partition(" ")
        self._logbook.said(device_id, what)
