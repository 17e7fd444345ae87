"""The site inside the guest: a bus, bluetoothd, a controller, devices in reach, and one real gateway."""

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from gateway.control import ask_running_gateway
from gateway.simulators.devices.ble_cameras import OpenGlassCamera
from gateway.simulators.devices.ble_image1_camera import GatewayImage1Camera
from tests.bluez_vm.guest.air import Air, OwnRadio, plug_in
from tests.bluez_vm.guest.camera import AiredCamera
from tests.bluez_vm.guest.daemons import OUT, Daemon, bluetoothd
from tests.bluez_vm.guest.pictures import Film
from tests.bluez_vm.guest.sensor import AiredBeacon, AiredSensor
from tests.fakes.gateway_process import GatewayProcess

# Emulated, and on a machine that others use: everything may take this many times as long as on a plain one.
SLOWNESS = 8.0
PATIENCE_S = 90.0
LOOK_EVERY_S = 0.1
DATA = Path("/run/gateway")
# Short, so that the ladder is climbed in a minute. The beacon says something five times a second.
SCAN_SILENT_MAX_S = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    sequence: int
    submission_id: str
    device_id: str
    kind: str
    sha256: str
    result: dict[str, Any]

    @property
    def is_picture(self) -> bool:
        return self.kind == "classification"

    @property
    def label(self) -> str:
        """The most probable of a picture's predictions."""
        best = max(self.result["predictions"], key=lambda one: float(one["probability"]))
        return str(best["label"])


class Site:
    """Everything that a scenario uses."""

    def __init__(self) -> None:
        self.air = Air()
        self.film = Film()
        self.bluetoothd: Daemon = bluetoothd()
        self.radio: OwnRadio | None = None
        self.image1 = GatewayImage1Camera(iter(self.film))
        self.image1_camera = AiredCamera(
            self.air, address="F0:00:00:00:00:11", name="image1", firmware=self.image1, mtu=185
        )
        self.small = GatewayImage1Camera(iter(self.film))
        self.small_camera = AiredCamera(
            self.air, address="F0:00:00:00:00:12", name="small", firmware=self.small, mtu=23, pause_s=0.003
        )
        self.openglass = OpenGlassCamera(iter(self.film))
        self.openglass_camera = AiredCamera(
            self.air, address="F0:00:00:00:00:13", name="glass", firmware=self.openglass
        )
        self.sensor = AiredSensor(self.air, address="F0:00:00:00:00:21")
        self.beacon = AiredBeacon(self.air, address="F0:00:00:00:00:31")
        self.gateway = GatewayProcess(DATA, environment=self._environment(), slowness=SLOWNESS)
        self.gateway.log_file = OUT / "gateway.log"

    def _environment(self) -> dict[str, str]:
        devices = [
            {"address": self.sensor.address, "device_id": "shed", "readings": ["battery", "temperature"]},
            {"address": self.beacon.address, "device_id": "beacon"},
        ]
        return {
            "GATEWAY_BLE__ENABLED": "true",
            "GATEWAY_BLE__UNLISTED_CAMERAS": "true",
            "GATEWAY_BLE__DEVICE": json.dumps(devices),
            "GATEWAY_BLE__SCAN_SILENT_MAX_S": str(SCAN_SILENT_MAX_S),
            "GATEWAY_MODEL__WORKERS": "1",
        }

    async def plug_in(self) -> None:
        """Plug the guest's controller in."""
        self.radio = await plug_in(self.air)

    # --- what the gateway says and stores ---------------------------------------------------------------

    def events(self, device_id: str) -> list[StoredEvent]:
        """Return what is on disk of a device, as any reader of the file sees it."""
        query = "SELECT sequence, submission_id, device_id, kind, payload_sha256, result FROM events"
        with closing(sqlite3.connect(f"file:{DATA / 'outbox.db'}?mode=ro", uri=True)) as file:
            rows = file.execute(f"{query} WHERE device_id = ? ORDER BY sequence", (device_id,)).fetchall()
        return [
            StoredEvent(sequence=a, submission_id=b, device_id=c, kind=d, sha256=e, result=json.loads(f))
            for a, b, c, d, e, f in rows
        ]

    def logged(self, slug: str, text: str = "") -> int:
        """Count the log's lines with this event and this text."""
        lines = self.gateway.log_file.read_text().splitlines() if self.gateway.log_file.exists() else []
        return sum(f'"event": "{slug}"' in line and text in line for line in lines)

    async def command(self, device_id: str, name: str, value: int | None = None) -> None:
        """Tell a device something, as ``gateway devices command`` does."""
        arguments = {"device_id": device_id, "command": name, "value": value}
        answer = await asyncio.to_thread(ask_running_gateway, DATA, "command", arguments)
        assert answer, "no gateway answers"
        assert "command_id" in answer, f"the gateway answered {answer}"

    def _admin(self) -> str:
        """Return the newest gateway's operator's address: on a slow machine the banner is out before it is known."""
        found = re.findall(r'"adapter": "admin", "at": "(.*?)"', self.gateway.log_file.read_text())
        return str(found[-1])

    async def metric(self, name: str, **labels: str) -> float:
        """Return a metric's value as Prometheus would see it."""
        response = await asyncio.to_thread(requests.get, f"{self._admin()}/metrics", timeout=PATIENCE_S)
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        rows = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", response.text, re.MULTILINE)
        return sum(float(value) for found, value in rows if all(one in found for one in wanted))


async def until(true: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return when ``true()``; fail, saying what was waited for."""
    give_up_at = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < give_up_at, f"never came: {what}"
        await asyncio.sleep(LOOK_EVERY_S)
