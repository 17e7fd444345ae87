"""A device with IoT Edge on a loopback address of its own, for tests: in a thread, driven from any thread.

with edge_in_thread() as edge:
    settings = edge.cloud_settings()
    edge.restart_hub()
"""

import asyncio
import random
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.settings import CloudSettings, load_settings
from gateway.simulators.iot_hub.edge import EdgeDevice, EdgeOptions
from gateway.simulators.iot_hub.faults import Faults
from gateway.simulators.iot_hub.record import ReceivedMessage

QUICK = {
    "cloud.keep_alive_s": "5",
    "cloud.connect_timeout_s": "10",
    "cloud.send_timeout_s": "3",
    "cloud.backoff_initial_s": "0.1",
    "cloud.backoff_max_s": "0.5",
}


class RunningEdge:
    """What a test does to the device."""

    def __init__(self, device: EdgeDevice, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.device = device
        self.directory = directory
        self._loop = loop

    @property
    def messages(self) -> list[ReceivedMessage]:
        """What this life of edgeHub has received."""
        return list(self.device.hub.record.messages)

    def set_faults(self, **faults: Any) -> None:
        self.device.hub.faults = Faults(**faults)

    def kick(self) -> None:
        self._loop.call_soon_threadsafe(self.device.hub.kick)

    def send_to_module(self, body: bytes, **properties: str) -> None:
        self._loop.call_soon_threadsafe(self.device.hub.send_to_device, self.device.client_id, body, properties)

    def stop_hub(self) -> None:
        self._wait(self.device.stop_hub())

    def start_hub(self) -> None:
        self._wait(self.device.start_hub())

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def cloud_settings(self, environment: Mapping[str, str] | None = None) -> CloudSettings:
        """The settings that a gateway finds in the module's environment."""
        told = self.device.environment() if environment is None else environment
        return load_settings(None, told, QUICK, self.directory).cloud


@contextmanager
def edge_in_thread() -> Iterator[RunningEdge]:
    """Serve in a thread, in a folder that everybody can reach: modules run as somebody else."""
    started = threading.Event()
    stop: list[Any] = []
    directory = Path(tempfile.mkdtemp(prefix="edge-"))
    directory.chmod(0o755)
    address = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(2, 254)}"

    async def serve() -> None:
        async with EdgeDevice(EdgeOptions(directory=directory, gateway_hostname=address)) as device:
            done = asyncio.Event()
            loop = asyncio.get_running_loop()
            stop.extend((RunningEdge(device, directory, loop), lambda: loop.call_soon_threadsafe(done.set)))
            started.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="edge", daemon=True)
    thread.start()
    try:
        assert started.wait(20), "the device did not start"
        edge, finish = stop
        yield edge
        finish()
        thread.join(20)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
