"""The Device Provisioning Service stand-in with its hubs, in a thread, and settings that reach it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.settings import CloudProvisioningSettings, CloudSettings
from gateway.simulators.iot_hub.devices import new_key
from gateway.simulators.iot_hub.hub import IotHub
from gateway.simulators.iot_hub.provisioning import Enrolment, ProvisioningService
from gateway.simulators.iot_hub.record import ReceivedMessage

HUB_A, HUB_B = "hub-a.localhost", "hub-b.localhost"


class RunningProvisioning:
    """What a test does to the service and its hubs, from any thread."""

    def __init__(self, service: ProvisioningService, directory: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.service = service
        self._directory = directory
        self._loop = loop

    def messages(self, hub: str = HUB_A) -> list[ReceivedMessage]:
        return list(self.service.hubs[hub].record.messages)

    def hub(self, name: str = HUB_A) -> IotHub:
        return self.service.hubs[name]

    def enrol_with_key(self, registration_id: str = "gw1", **fields: Any) -> Path:
        """Enrol one device, or a group (an empty id); return the key's file."""
        enrolment = self.service.enrol(Enrolment(registration_id=registration_id, key=new_key(), **fields))
        return self.key_file(enrolment.key)

    def key_file(self, key: str, name: str = "device.key") -> Path:
        file = self._directory / name
        file.touch(mode=0o600)
        file.write_text(key + "\n")
        return file

    def move(self, registration_id: str, *, to: str) -> None:
        """Make the service assign another hub from now on, and the old ones know the device no more."""
        self.service.assigns_to = to
        for hub in self.service.hubs.values():
            self._loop.call_soon_threadsafe(hub.forget, registration_id)

    def cloud_settings(self, **asked: Any) -> CloudSettings:
        """The settings that ask the service; ``asked`` are of [cloud.provisioning]."""
        return CloudSettings(
            provisioning=CloudProvisioningSettings(
                **({"id_scope": self.service.id_scope, "registration_id": "gw1"} | asked)
            ),
            ca_file=self.service.ca_file,
            proxy=self.service.proxy_url,
            keep_alive_s=5,
            connect_timeout_s=10,
            send_timeout_s=3,
            backoff_initial_s=0.1,
            backoff_max_s=1,
        )

    def environment(self, **asked: object) -> dict[str, str]:
        """The same for a process."""
        asked = {"id_scope": self.service.id_scope, "registration_id": "gw1"} | asked
        return {
            "GATEWAY_CLOUD__CA_FILE": str(self.service.ca_file),
            "GATEWAY_CLOUD__PROXY": self.service.proxy_url,
            "GATEWAY_CLOUD__BACKOFF_INITIAL_S": "0.1",
            "GATEWAY_CLOUD__BACKOFF_MAX_S": "1",
            **{f"GATEWAY_CLOUD__PROVISIONING__{name.upper()}": str(value) for name, value in asked.items()},
        }


@contextmanager
def provisioning_in_thread(directory: Path) -> Iterator[RunningProvisioning]:
    """Serve DPS and two hubs."""
    started = threading.Event()
    stop: list[Any] = []

    async def serve() -> None:
        async with ProvisioningService(directory / "dps", hub_names=(HUB_A, HUB_B)) as service:
            done = asyncio.Event()
            loop = asyncio.get_running_loop()
            stop.extend((RunningProvisioning(service, directory, loop), lambda: loop.call_soon_threadsafe(done.set)))
            started.set()
            await done.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="dps", daemon=True)
    thread.start()
    assert started.wait(20), "the service did not start"
    running, finish = stop
    try:
        yield running
    finally:
        finish()
        thread.join(20)
