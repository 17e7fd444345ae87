"""The IoT Hub stand-in on free ports, for tests: within the test's loop, or in a thread of its own.

async with running_hub(tmp_path) as hub:
    settings = hub.cloud_settings()
    hub.set_faults(no_puback=True)
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.settings import CloudSettings
from gateway.simulators.iot_hub.faults import Faults
from gateway.simulators.iot_hub.hub import HubDescription, HubOptions, IotHub
from gateway.simulators.iot_hub.record import ReceivedMessage
from tests.fakes.canary import CHARS_MIN, secret


class RunningHub:
    """What a test does to the stand-in. Every method may be called from any thread."""

    def __init__(self, hub: IotHub, loop: asyncio.AbstractEventLoop) -> None:
        self._hub = hub
        self._loop = loop
        self.description: HubDescription = hub.describe()
        for device in hub.devices.values():
            for key in (device.primary_key, device.secondary_key):
                if len(key) >= CHARS_MIN:  # X.509 devices have none
                    secret(key)

    @property
    def hub(self) -> IotHub:
        return self._hub

    @property
    def messages(self) -> list[ReceivedMessage]:
        """What was accepted, acknowledged or not, in order of arrival."""
        return list(self._hub.record.messages)

    @property
    def refused(self) -> list[ReceivedMessage]:
        return list(self._hub.record.refused)

    @property
    def raw_bytes(self) -> bytes:
        """Every byte received inside TLS."""
        assert not self._hub.record.capture_cut
        return bytes(self._hub.record.captured)

    def set_faults(self, **faults: Any) -> None:
        """Switch these faults on and all others off."""
        self._hub.faults = Faults(**faults)

    def kick(self) -> None:
        self._loop.call_soon_threadsafe(self._hub.kick)

    def send_to_device(self, device_id: str, body: bytes, **properties: str) -> None:
        self._loop.call_soon_threadsafe(self._hub.send_to_device, device_id, body, properties)

    def serve_certificate(self, *, common_name: str = "", not_before: datetime | None = None) -> None:
        """Serve new connections with another certificate."""
        self._hub.serve_certificate(common_name=common_name or self._hub.hostname, not_before=not_before)

    def connection_string(self, device_id: str = "gw1", *, secondary: bool = False) -> str:
        return self._hub.connection_string(device_id, secondary=secondary)

    def cloud_settings(self, device: str = "gw1", /, **changes: Any) -> CloudSettings:
        """The settings that reach the stand-in through its proxy, with deadlines short enough for tests."""
        values: dict[str, Any] = {
            "connection_string": self.connection_string(device),
            "ca_file": self.description.ca_file,
            "proxy": self.description.proxy,
            "keep_alive_s": 5,
            "connect_timeout_s": 10,
            "send_timeout_s": 3,
            "backoff_initial_s": 0.1,
            "backoff_max_s": 1,
        }
        return CloudSettings(**(values | changes))

    def environment(self, device_id: str = "gw1") -> dict[str, str]:
        """The environment variables that point a gateway process here."""
        return self.description.environment(device_id)


@asynccontextmanager
async def running_hub(directory: Path, **options: Any) -> AsyncIterator[RunningHub]:
    """Serve in the running loop. ``options`` are HubOptions."""
    async with IotHub(HubOptions(directory=directory / "hub", **options)) as hub:
        yield RunningHub(hub, asyncio.get_running_loop())


@contextmanager
def hub_in_thread(directory: Path, **options: Any) -> Iterator[RunningHub]:
    """Serve in a thread, for tests that block or whose loop must stay their own."""
    started = threading.Event()
    stop: list[Any] = []

    async def serve() -> None:
        async with running_hub(directory, **options) as hub:
            done = asyncio.Event()
            loop = asyncio.get_running_loop()
            stop.extend((hub, lambda: loop.call_soon_threadsafe(done.set)))
            started.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="hub", daemon=True)
    thread.start()
    assert started.wait(20), "the stand-in did not start"
    hub, finish = stop
    try:
        yield hub
    finally:
        finish()
        thread.join(20)
