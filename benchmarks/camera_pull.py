"""Pulled cameras: what one picture costs beside httpx, and a hundred cameras on one core, some dead and some slow."""

import asyncio
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path

import httpx

from adapters.camera_pull.login import Login
from adapters.camera_pull.snapshot import Admission, Snapshot
from adapters.camera_pull.trust import TrustStore
from adapters.camera_pull.whereabouts import Whereabouts
from benchmarks.figure import Figure, cpu_seconds, photograph, rss_mb
from gateway.name_lookup import NameLookup
from gateway.settings import CameraPullSettings, PulledCameraSettings
from tests.fakes.gateway_process import GatewayProcess

PICTURES = 300
CAMERAS, DEAD, SLOW = 100, 10, 10
INTERVAL_S = 10.0
SECONDS = 60.0


def measure() -> Iterator[Figure]:
    """Yield CPU per picture against httpx's, then CPU, memory and punctuality of the whole gateway."""
    picture = photograph(800, 600)
    with served(picture) as urls:
        ours, bare = asyncio.run(_ours(urls["well"])), asyncio.run(_httpx(urls["well"]))
        yield Figure(
            name=f"CPU for one snapshot of {len(picture) // 1000} kB, no model",
            ours=f"{ours:.2f} ms",
            bare=f"{bare:.2f} ms (httpx)",
            ratio=bare / ours,
        )
        yield from _site(urls)


async def _ours(url: str) -> float:
    settings = PulledCameraSettings(url=url)
    snapshot = Snapshot(
        settings=settings,
        password="",
        bytes_max=8_000_000,
        whereabouts=Whereabouts(lookup=NameLookup(), settings=CameraPullSettings()),
        login=Login(mode="auto", username="", password="", cnonce=lambda: ""),
        tls=lambda: TrustStore().context(settings),
    )

    async def admit() -> Admission:
        return Admission(grow=lambda _: None)

    began = time.process_time()
    for _ in range(PICTURES):
        await snapshot.fetch(admit)
    return (time.process_time() - began) / PICTURES * 1000


async def _httpx(url: str) -> float:
    async with httpx.AsyncClient(headers={"Connection": "close"}) as client:
        began = time.process_time()
        for _ in range(PICTURES):
            (await client.get(url)).raise_for_status()
        return (time.process_time() - began) / PICTURES * 1000


def _site(urls: dict[str, str]) -> Iterator[Figure]:
    kinds = ["dead"] * DEAD + ["slow"] * SLOW + ["well"] * (CAMERAS - DEAD - SLOW)
    entries = [
        {"url": f"{urls[kind]}?{n}", "device_id": f"{kind}-{n}", "interval_s": INTERVAL_S}
        for n, kind in enumerate(kinds)
    ]
    environment = {"GATEWAY_CAMERA_PULL__CAMERA": json.dumps(entries), "GATEWAY_MQTT__LISTEN": ""}
    with (
        tempfile.TemporaryDirectory() as name,
        GatewayProcess(Path(name) / "data", environment=environment, prefix=["taskset", "-c", "0"]) as gateway,
    ):
        time.sleep(INTERVAL_S * 1.5)
        Shown.numbers.clear()
        cpu, began = cpu_seconds(gateway.worker_pid), time.monotonic()
        time.sleep(SECONDS)
        share = (cpu_seconds(gateway.worker_pid) - cpu) / (time.monotonic() - began)
        well = [times for name, times in Shown.numbers.items() if name.startswith("/well")]
        gaps = [later - sooner for times in well for sooner, later in pairwise(times)]
        label = f"{CAMERAS} cameras every {INTERVAL_S:g} s on one core ({DEAD} dead, {SLOW} slow)"
        yield Figure(name=f"{label}: share of the core", ours=f"{share:.0%}", bare="", ratio=None)
        yield Figure(
            name=f"{label}: longest gap of the {len(well)} well ones",
            ours=f"{max(gaps):.1f} s",
            bare=f"{INTERVAL_S * 1.1:.1f} s",
            ratio=INTERVAL_S * 1.1 / max(gaps),
        )
        yield Figure(name=f"{label}: RSS", ours=f"{rss_mb(gateway.worker_pid):.0f} MB", bare="", ratio=None)


class Shown:
    """When each camera was asked."""

    numbers: dict[str, list[float]] = {}  # noqa: RUF012  of one run


@contextmanager
def served(picture: bytes) -> Iterator[dict[str, str]]:
    """Serve in a thread: ``well`` at once, ``slow`` over eight seconds, ``dead`` never."""
    loop = asyncio.new_event_loop()
    stamps = count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        Shown.numbers.setdefault(path, []).append(time.monotonic())
        if path.startswith("/dead"):
            with contextlib.suppress(asyncio.CancelledError):
                await reader.read()
        body = picture[:2] + b"\xff\xfe\x00\x0a%08d" % next(stamps) + picture[2:]
        data = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        pieces = 8 if path.startswith("/slow") else 1
        step = -(-len(data) // pieces)
        for at in range(0, len(data), step):
            writer.write(data[at : at + step])
            await asyncio.sleep(1 if pieces > 1 else 0)
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0, backlog=512))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield {kind: f"http://127.0.0.1:{port}/{kind}" for kind in ("well", "slow", "dead")}
    loop.call_soon_threadsafe(_end, loop)
    thread.join()
    loop.run_until_complete(asyncio.sleep(0.1))
    loop.close()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.stop()
