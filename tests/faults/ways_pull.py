"""Cameras that the gateway asks: each answer is a picture with bytes of its own, in one of the forms of real ones.

Nobody acknowledges anything to such a camera. What stands for it here is the gateway's own word from outside: its log
says ``event_committed``, with device and sequence, once the commit has returned, and a camera is asked for its next
picture only afterwards; so the line is about the picture that was shown last. From then on the picture must be in the
file and in the cloud, under that sequence. A picture that was shown and of which the log says nothing, because the
gateway was killed or could not take it, is no loss: the camera is asked for a newer one.

Limit: a picture that was asked for and forgotten without a word is not found here.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.simulators.devices.snapshot_camera import Form, written
from tests.fakes.gateway_process import GatewayProcess
from tests.faults.gateway_log import GatewayLog
from tests.faults.payloads import Payload
from tests.faults.ways import LOG_NAME, Place

FORMS = (Form.PLAIN, Form.CHUNKED, Form.HTTP10, Form.MJPEG, Form.BARE_LF)
INTERVAL_S = 0.02
START_TIMEOUT_S = 20.0
LOOK_EVERY_S = 0.005
_NOT_NOW = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@dataclass(slots=True)
class _Camera:
    """``shown``: the last picture, while the gateway has not said what became of it."""

    name: str
    form: Form
    shown: Payload | None = None


class PulledCameras:
    """Implements ``ways.Way``. The cameras serve in a thread with an event loop of its own."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._log = GatewayLog(place.folder / LOG_NAME)
        self._cameras = {f"camera-{form}": _Camera(f"camera-{form}", form) for form in FORMS}
        self._urls: dict[str, str] = {}
        self._lock = threading.Lock()
        self._showing = False
        self._ended: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="pulled cameras")
        self._thread.start()
        assert self._ready.wait(START_TIMEOUT_S), "the cameras did not start"

    def environment(self) -> Mapping[str, str]:
        asked = [
            {"url": url, "device_id": name, "interval_s": INTERVAL_S, "timeout_s": 30}
            for name, url in self._urls.items()
        ]
        return {
            "GATEWAY_CAMERA_PULL__CAMERA": json.dumps(asked),
            "GATEWAY_CAMERA_PULL__BACKOFF_MAX_S": "1",
        }

    def attach(self, gateway: GatewayProcess) -> None:
        """Nothing to do: the gateway comes to the cameras."""

    def detach(self) -> None:
        with self._lock:
            self._read_log()
            for camera in self._cameras.values():
                self._place.ledger.cut(int(camera.shown is not None))
                camera.shown = None

    def resume(self) -> None:
        self._showing = True

    def pause(self) -> None:
        self._showing = False

    def settled(self) -> bool:
        with self._lock:
            self._read_log()
            return not any(camera.shown for camera in self._cameras.values())

    def close(self) -> None:
        assert self._loop is not None
        assert self._ended is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    # --- what the gateway says ---

    def _read_log(self) -> None:
        for line in self._log.new_lines():
            camera = self._cameras.get(str(line.get("device_id")))
            if camera is not None and camera.shown is not None:
                self._take_word(camera, camera.shown, line)

    def _take_word(self, camera: _Camera, shown: Payload, line: Mapping[str, Any]) -> None:
        match line["event"]:
            case "event_committed":
                self._place.ledger.acknowledge(shown.sha256, int(line["sequence"]))
                camera.shown = None
            case "submission_refused":
                self._place.ledger.refuse(shown.sha256)
                camera.shown = None
            case "camera_picture_dropped":
                camera.shown = None

    # --- the cameras ---

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            for camera in self._cameras.values():
                server = await asyncio.start_server(self._asked_of(camera), "127.0.0.1", 0)
                stack.callback(server.close)
                self._urls[camera.name] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/snapshot.jpg"
            self._ready.set()
            while not self._ended.is_set():
                with self._lock:
                    self._read_log()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ended.wait(), LOOK_EVERY_S)

    def _asked_of(self, camera: _Camera) -> Any:
        async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, EOFError), contextlib.closing(writer):
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(camera))
                await writer.drain()
                if camera.form is Form.MJPEG:  # a stream does not end by itself
                    await reader.read()

        return asked

    def _answer(self, camera: _Camera) -> bytes:
        """Return what the camera says now. Being asked again, it hears no more of the last picture."""
        with self._lock:
            self._read_log()
            camera.shown = self._place.payloads.next(is_picture=True) if self._showing else None
            return _NOT_NOW if camera.shown is None else written(camera.form, camera.shown.data)
