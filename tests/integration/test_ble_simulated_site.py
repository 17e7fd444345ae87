"""``gateway simulate device ble``: the site as a library, and the command with a real gateway beside it."""

import asyncio
import contextlib
import hashlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import OperatorError
from gateway.simulators.bluez.private_bus import PrivateBus
from gateway.simulators.bluez.site import BleSiteOptions, simulated_ble_site
from gateway.simulators.devices.ble_cameras import CAMERAS
from gateway.simulators.devices.pictures import pictures
from tests.fakes.ble_site import needs_dbus_daemon
from tests.fakes.child_process import start_child
from tests.fakes.gateway_process import ROOT, GatewayProcess

WAIT_S = 60.0


def drawn(number: int) -> Iterator[bytes]:
    return islice(pictures((), seed=number), 1)


def daemons_in(folder: Path) -> list[str]:
    """Return the command lines of processes that serve a bus in that folder."""
    texts = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            texts.append((process / "cmdline").read_text())
    return [text for text in texts if f"path={folder}" in text and "dbus-daemon" in text]


class Simulation:
    """``gateway simulate device ble`` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        seen = ("--picture", "examples/banana-ripe.jpg")
        command = [
            sys.executable,
            "-m",
            "gateway",
            "simulate",
            "device",
            "ble",
            "--dir",
            str(folder),
            *seen,
            *arguments,
        ]
        self.process = start_child(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=1
        )
        self.environment: dict[str, str] = {}

    def announced(self) -> None:
        """Return when the lines to paste are out; take what a shell would make of them."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("export "):
                shell = subprocess.run(
                    ["env", "-i", "sh", "-c", f"{line}\nenv"], capture_output=True, text=True, check=True
                )
                given = dict(one.split("=", 1) for one in shell.stdout.splitlines())
                self.environment |= {name: given[name] for name in given if name != "PWD"}
            if "Ctrl-C" in line:
                return
        raise AssertionError("no lines to paste")

    def ended(self) -> tuple[int, str]:
        """Return the exit code and what else it said."""
        said, _ = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, said


@dataclass(frozen=True)
class Committed:
    """A row of the outbox."""

    device_id: str
    sha256: str
    result: dict[str, Any]


def committed(data_dir: Path, kind: str) -> list[Committed]:
    with contextlib.closing(sqlite3.connect(f"file:{data_dir / 'outbox.db'}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT device_id, payload_sha256, result FROM events WHERE kind = ?", (kind,))
        return [Committed(device_id, sha256, json.loads(result)) for device_id, sha256, result in rows]


def best_label(one: Committed) -> str:
    return str(max(one.result["predictions"], key=lambda prediction: prediction["probability"])["label"])


async def until_committed(data_dir: Path, kind: str, devices: int) -> list[Committed]:
    give_up_at = time.monotonic() + WAIT_S
    while True:
        found = committed(data_dir, kind)
        if len({one.device_id for one in found}) >= devices:
            return found
        assert time.monotonic() < give_up_at, f"only {[one.device_id for one in found]}"
        await asyncio.sleep(0.1)


@needs_dbus_daemon
async def test_everything_in_reach_is_committed_by_a_real_gateway_with_its_hash_and_result(tmp_path: Path) -> None:
    told: list[str] = []
    options = BleSiteOptions(pictures=drawn, beacons=2, thermometers=1, tell=told.append)
    async with simulated_ble_site(options) as site:
        gateway = GatewayProcess(tmp_path / "data", environment=site.environment())
        await asyncio.to_thread(gateway.start)
        try:
            images = await until_committed(tmp_path / "data", "classification", len(CAMERAS))
            readings = await until_committed(tmp_path / "data", "reading", 3)
        finally:
            await asyncio.to_thread(gateway.stop)
    sent = {camera.name: next(drawn(number)) for number, camera in enumerate(site.cameras, start=1)}
    hashes = {name: hashlib.sha256(picture).hexdigest() for name, picture in sent.items()}
    assert {one.device_id: one.sha256 for one in images} == hashes
    # Pictures of odd numbers are unripe fruit, the others ripe ones.
    expected = {camera.name: "ripe" if number % 2 == 0 else "unripe" for number, camera in enumerate(site.cameras, 1)}
    assert {one.device_id: best_label(one) for one in images} == expected
    assert any("gateway-image-1 picture 1: on disk" in line for line in told)
    values = {one.device_id: one.result for one in readings}
    assert set(values) == {"beacon-1", "beacon-2", "thermometer-1"}
    for one in values.values():
        assert one.keys() == {"temperature_c", "humidity_percent", "battery_percent"}


@needs_dbus_daemon
async def test_left_site_leaves_no_daemon_and_no_folder(tmp_path: Path) -> None:
    async with simulated_ble_site(BleSiteOptions(pictures=drawn, cameras=("openglass",))) as site:
        folder = site.bus.socket.parent
        assert len(daemons_in(folder)) == 1
    assert daemons_in(folder) == []
    assert not folder.exists()


@needs_dbus_daemon
async def test_site_that_is_asked_for_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(OperatorError, match=r"speaks polaroid.*openglass, omiglass"):
        async with simulated_ble_site(BleSiteOptions(pictures=drawn, cameras=("polaroid",))):
            pass


@needs_dbus_daemon
async def test_bus_starts_over_the_socket_of_a_killed_one_and_not_over_a_live_one(tmp_path: Path) -> None:
    first, second = PrivateBus(tmp_path), PrivateBus(tmp_path)
    await first.start()
    with pytest.raises(OperatorError, match="runs at"):
        await second.start()
    stale = first.socket.with_name("stale")
    stale.hardlink_to(first.socket)
    await first.kill()
    stale.rename(first.socket)
    await second.start()
    await second.kill()


async def test_missing_dbus_daemon_is_told_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="apt-get install dbus-daemon"):
        await PrivateBus(tmp_path, program="no-such-dbus-daemon").start()


async def test_folder_too_deep_for_a_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="shorter path"):
        await PrivateBus(tmp_path / ("d" * 100)).start()


# --- the command --------------------------------------------------------------------------------------


@needs_dbus_daemon
def test_command_ends_when_every_camera_has_got_rid_of_its_pictures(tmp_path: Path) -> None:
    cameras = ("--camera", "gateway-image-1", "--camera", "openglass")
    simulation = Simulation(tmp_path / "bus", *cameras, "--count", "2", "--interval", "0.2")
    simulation.announced()
    with GatewayProcess(tmp_path / "data", environment=simulation.environment):
        code, said = simulation.ended()
        found = committed(tmp_path / "data", "classification")
    assert code == 0, said
    assert sorted(one.device_id for one in found) == ["gateway-image-1"] * 2 + ["openglass"] * 2
    banana = hashlib.sha256((ROOT / "examples" / "banana-ripe.jpg").read_bytes()).hexdigest()
    assert {one.sha256 for one in found} == {banana}
    assert "gateway-image-1 picture 2: on disk" in said
    assert "openglass picture 2:" in said
    assert daemons_in(tmp_path) == []


@needs_dbus_daemon
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_the_command_and_its_daemon(tmp_path: Path, number: signal.Signals) -> None:
    simulation = Simulation(tmp_path / "bus", "--camera", "openglass")
    simulation.announced()
    simulation.process.send_signal(number)
    code, said = simulation.ended()
    assert (code, "Traceback" in said) == (0, False)
    assert daemons_in(tmp_path) == []
