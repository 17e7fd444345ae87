"""The demo's camera that only answers a snapshot URL: the gateway asks it, so it is told nothing."""

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from gateway.simulators.demo.gallery import Gallery
from gateway.simulators.demo.logbook import Logbook
from gateway.simulators.demo.options import DemoOptions
from gateway.simulators.devices.snapshot_camera import Auth, Form, SnapshotCamera, SnapshotCameraOptions

DEVICE_ID = "yard-camera"
PASSWORD = "only-for-the-demo"  # noqa: S105  of a simulated camera
# Like a camera of its kind: Digest, whose nonces age, and heads that many a library refuses.
NONCE_USES = 3
# So that a kill's back-off is seen to end.
INTERVAL_FACTOR = 2


class DemoPulledCamera:
    """An async context manager. ``environment`` makes a gateway ask it; ``stop`` unplugs it."""

    def __init__(self, logbook: Logbook, options: DemoOptions, gallery: Gallery) -> None:
        self._logbook = logbook
        self._options = options
        shots = logbook.watching(DEVICE_ID, gallery.shots(0))
        shown = SnapshotCameraOptions(form=Form.BAD_HEADER, auth=Auth.DIGEST, password=PASSWORD, nonce_uses=NONCE_USES)
        self._camera = SnapshotCamera(shown, shots, tell=self._told)
        self._password_file = options.folder / "yard-camera.password"
        self._is_up = False

    @property
    def environment(self) -> Mapping[str, str]:
        """What the gateway needs in its environment."""
        camera = {
            "url": self._camera.url,
            "device_id": DEVICE_ID,
            "interval_s": self._options.interval_s * INTERVAL_FACTOR,
            "username": self._camera.options.username,
            "password_file": str(self._password_file),
        }
        return {"GATEWAY_CAMERA_PULL__CAMERA": json.dumps([camera])}

    async def __aenter__(self) -> Self:
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(PASSWORD)
        self._logbook.enter(DEVICE_ID, "asked by the gateway", is_told=False)
        await self._camera.__aenter__()
        self._is_up = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Unplug it. Safe to call twice."""
        if self._is_up:
            self._is_up = False
            await self._camera.__aexit__(None, None, None)

    def _told(self, what: str) -> None:
        self._logbook.said(DEVICE_ID, f"(it shows {what})")
