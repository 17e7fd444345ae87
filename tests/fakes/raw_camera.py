"""A camera that is bytes: what it answers is replayed as it stands. And what a test needs to ask it."""

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.camera_pull.building import build_cameras
from adapters.camera_pull.camera import PulledCamera
from adapters.camera_pull.login import Login
from adapters.camera_pull.snapshot import Admission, Snapshot
from adapters.camera_pull.trust import TrustStore
from adapters.camera_pull.whereabouts import Lookup, Whereabouts
from gateway.clock import SystemClock
from gateway.ports import Intake
from gateway.settings import CameraPullSettings, LimitsSettings, PulledCameraSettings
from tests.fakes.intake import RecordingMeter, RecordingStatusSink

WIRE_FORMS = Path(__file__).parents[1] / "data" / "camera_wire"
PICTURE = (WIRE_FORMS / "picture.jpg").read_bytes()


def answer(body: bytes = PICTURE, *lines: str, status: str = "200 OK") -> bytes:
    """Return a right answer."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


@dataclass
class RawCamera:
    """``answers`` is called with each request's head and gives what is sent; ``asked`` keeps the heads."""

    answers: Callable[[str], bytes]
    stays_open: bool = False
    piece_bytes: int = 0  # 0: all at once
    pause_s: float = 0
    before: Callable[[], Awaitable[None]] | None = None
    port: int = 0
    asked: list[str] = field(default_factory=list)
    open_connections: int = 0
    _served: list["asyncio.Task[None]"] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/snapshot.jpg"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._served.append(task)
        self.open_connections += 1
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.asked.append(head)
            if self.before is not None:
                await self.before()
            await self._send(writer, self.answers(head))
            if self.stays_open:
                await reader.read()
        self.open_connections -= 1

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        step = self.piece_bytes or len(data) or 1
        for begin in range(0, len(data), step):
            writer.write(data[begin : begin + step])
            await writer.drain()
            await asyncio.sleep(self.pause_s)

    async def end(self) -> None:
        for task in self._served:
            task.cancel()
        await asyncio.gather(*self._served, return_exceptions=True)


@asynccontextmanager
async def raw_camera(
    answers: bytes | Callable[[str], bytes], *, tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[RawCamera]:
    """Serve on a free port of loopback."""
    given = (lambda _: answers) if isinstance(answers, bytes) else answers
    camera = RawCamera(given, **options)
    server = await asyncio.start_server(camera.serve, "127.0.0.1", 0, ssl=tls)
    camera.port = server.sockets[0].getsockname()[1]
    try:
        yield camera
    finally:
        server.close()
        await camera.end()
        await asyncio.sleep(0.01)  # transports close in the loop's next turns


async def no_names(host: str, port: int) -> Sequence[str]:
    raise AssertionError(f"{host} was looked up")


def snapshot_of(
    url: str, *, password: str = "", lookup: Lookup = no_names, pull: CameraPullSettings | None = None, **camera: Any
) -> Snapshot:
    """Return what asks a camera; other settings by name."""
    settings = PulledCameraSettings.model_validate({"url": url, "timeout_s": 5, **camera})
    trust = TrustStore()
    return Snapshot(
        settings=settings,
        password=password,
        bytes_max=100_000,
        whereabouts=Whereabouts(lookup=lookup, settings=pull or CameraPullSettings()),
        login=Login(mode=settings.auth, username=settings.username, password=password, cnonce=lambda: "0a4f113b"),
        tls=lambda: trust.context(settings),
    )


async def admitted() -> Admission:
    """Let every picture in."""
    return Admission(grow=lambda byte_count: None)


async def fetch(snapshot: Snapshot) -> bytes:
    return await snapshot.fetch(admitted)


@dataclass
class Watched:
    """Cameras of a site with what they told."""

    cameras: Sequence[PulledCamera]
    meter: RecordingMeter
    status: RecordingStatusSink

    def outcomes(self, outcome: str) -> float:
        return self.meter.counts("gateway_camera_pull_pictures_total", outcome=outcome)


def watched(settings: CameraPullSettings, intake: Intake, *, lookup: Lookup = no_names, seed: int = 1) -> Watched:
    """Return the cameras of settings, not started."""
    meter, status = RecordingMeter(), RecordingStatusSink()
    cameras = build_cameras(
        settings=settings,
        limits=LimitsSettings(),
        intake=intake,
        meter=meter,
        clock=SystemClock(),
        status=status,
        rng=random.Random(seed),
        lookup=lookup,
    )
    return Watched(cameras, meter, status)
