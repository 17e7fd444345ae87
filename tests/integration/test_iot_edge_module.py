"""The gateway as a module of IoT Edge: the real SDK, the workload API on a Unix socket, and the stand-in as edgeHub."""

import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from gateway.cloud import child_link, child_process
from gateway.doctor.finding import Level
from gateway.doctor.network import examine_edge_runtime
from gateway.errors import LinkDown
from gateway.messages import Command
from gateway.settings import CloudSettings
from gateway.simulators.iot_hub.devices import new_key
from tests.fakes.child_process import start_child
from tests.fakes.edge import QUICK, RunningEdge, edge_in_thread
from tests.fakes.gateway_process import ROOT, GatewayProcess
from tests.fakes.link import eventually, link_with, message

NOBODY = 65534
PICTURE = (ROOT / "examples" / "banana-ripe.jpg").read_bytes()


@pytest.fixture
def edge() -> Iterator[RunningEdge]:
    with edge_in_thread() as running:
        yield running


async def test_a_module_connects_with_a_token_that_the_runtime_signed(edge: RunningEdge) -> None:
    async with link_with(edge.cloud_settings()) as link, link.session() as session:
        await session.send(message(7, kind="reading"))
        [received] = edge.messages
        assert received.client_id == "edge-1/gateway"
        assert received.properties["$.on"] == "events"
        assert received.message_id == "m-7"
        assert edge.device.workload.signed == 1
        assert edge.device.workload.refusals == []


async def test_each_session_of_a_module_has_a_token_of_its_own(
    edge: RunningEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_link, "SESSION_AGE_MAX_S", 0.2)
    async with link_with(edge.cloud_settings()) as link:
        for number in (1, 2):
            async with link.session() as session:
                await session.send(message(number))
                with pytest.raises(LinkDown) as down:
                    await session.lost()
                assert down.value.reason == "session_renewal"
        assert edge.device.workload.signed == 2
        edge.set_faults(clock_ahead_s=child_link.TOKEN_TTL_S + 60)
        with pytest.raises(LinkDown) as down:
            async with link.session():
                pass
        assert down.value.reason == "credentials_refused"


async def test_a_message_that_a_route_brings_to_an_input_is_a_command(edge: RunningEdge) -> None:
    arrived: list[Command] = []

    async def keep(command: Command) -> None:
        arrived.append(command)

    async with link_with(edge.cloud_settings(), on_command=keep) as link, link.session():
        edge.send_to_module(b'{"device_id":"cam-1","command":"photo"}', **{"$.mid": "c-1"})
        await eventually(lambda: arrived)
    assert arrived[0].body == b'{"device_id":"cam-1","command":"photo"}'
    assert arrived[0].command_id == "c-1"
    assert arrived[0].properties["$.input_name"] == "commands"


async def test_the_fallback_with_a_connection_string_through_edge_hub_works(edge: RunningEdge) -> None:
    settings = edge.cloud_settings(edge.device.fallback_environment())
    async with link_with(settings) as link, link.session() as session:
        await session.send(message())
        figures = link.child_figures()
        assert figures is not None
        assert "SharedAccessKey" not in str(psutil.Process(figures.pid).environ())
    assert [received.client_id for received in edge.messages] == ["edge-1/gateway"]
    assert edge.device.workload.signed == 0


async def test_a_runtime_that_never_answers_is_a_connect_timeout_not_a_frozen_process(
    edge: RunningEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "HEARTBEAT_S", 0.3)
    edge.device.workload.is_silent = True
    settings = edge.cloud_settings().model_copy(update={"connect_timeout_s": 2})
    async with link_with(settings) as link:
        with pytest.raises(LinkDown) as down:
            async with link.session():
                pass
        assert down.value.reason == "connect_timeout"
        edge.device.workload.is_silent = False
        async with link.session() as session:
            await session.send(message())


async def test_an_edge_hub_that_is_not_the_runtimes_is_not_trusted(edge: RunningEdge) -> None:
    edge.device.hub.serve_certificate(common_name="elsewhere.example")
    async with link_with(edge.cloud_settings()) as link:
        with pytest.raises(LinkDown) as down:
            async with link.session():
                pass
    assert down.value.reason == "certificate_refused"
    assert edge.messages == []


async def test_a_module_with_another_key_is_refused(edge: RunningEdge) -> None:
    edge.device.hub.devices[edge.device.client_id].primary_key = new_key()
    async with link_with(edge.cloud_settings()) as link:
        with pytest.raises(LinkDown) as down:
            async with link.session():
                pass
    assert down.value.reason == "credentials_refused"


async def test_a_runtime_that_knows_another_life_of_the_module_refuses(edge: RunningEdge) -> None:
    told = dict(edge.device.environment()) | {"IOTEDGE_MODULEGENERATIONID": "an-earlier-life"}
    async with link_with(edge.cloud_settings(told)) as link:
        with pytest.raises(LinkDown) as down:
            async with link.session():
                pass
    assert down.value.reason == "edge_runtime_refused"
    assert "iotedge" in down.value.detail


async def test_a_runtime_without_its_socket_is_named(edge: RunningEdge) -> None:
    told = dict(edge.device.environment()) | {"IOTEDGE_WORKLOADURI": f"unix://{edge.directory}/absent.sock"}
    async with link_with(edge.cloud_settings(told)) as link:
        with pytest.raises(LinkDown) as down:
            async with link.session():
                pass
    assert down.value.reason == "edge_runtime_silent"


def test_doctor_says_whether_the_runtimes_socket_is_there(edge: RunningEdge) -> None:
    absent = dict(edge.device.environment()) | {"IOTEDGE_WORKLOADURI": f"unix://{edge.directory}/absent.sock"}

    there = examine_edge_runtime(edge.cloud_settings())
    missing = examine_edge_runtime(edge.cloud_settings(absent))
    _wait_for(lambda: edge.device.workload.user_ids)  # until it has been seen there, so that it can be let go

    assert there is not None
    assert missing is not None
    assert (there.level, missing.level) == (Level.OK, Level.WARN)
    assert examine_edge_runtime(CloudSettings()) is None


def test_a_stand_in_of_the_runtime_can_be_started_by_hand(tmp_path: Path) -> None:
    """Paste what it prints, and the gateway is a module."""
    address = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(2, 254)}"
    with start_child(
        [sys.executable, "-m", "gateway", "simulate", "edge", "--dir", str(tmp_path / "edge"), "--address", address],
        stdout=subprocess.PIPE,
        text=True,
    ) as stand_in:
        assert stand_in.stdout is not None
        told: dict[str, str] = {}
        for line in stand_in.stdout:
            if found := re.fullmatch(r"  export (\w+)='(.*)'\n", line):
                told[found[1]] = found[2]
            if line.startswith("Paste"):
                break
        try:
            with GatewayProcess(tmp_path / "data", environment=told) as gateway:
                assert gateway.post_picture(PICTURE).status_code == 200
                _wait_for(lambda: _delivered(gateway) == 1)
        finally:
            stand_in.send_signal(signal.SIGINT)


def _delivered(gateway: GatewayProcess) -> float:
    metrics = requests.get(f"{gateway.admin}/metrics", timeout=5).text
    found = re.search(r'^gateway_cloud_events_total\{outcome="delivered"\} (\S+)$', metrics, re.MULTILINE)
    return float(found[1]) if found else 0


def _as_nobody(edge: RunningEdge) -> tuple[list[str], Path]:
    """Return a command that drops root for good, and a data directory for who is then left."""
    data = edge.directory / "data"
    data.mkdir(mode=0o700)
    if os.geteuid() != 0:
        return [], data
    setpriv = shutil.which("setpriv")
    assert setpriv, "util-linux is essential in Debian"
    os.chown(data, NOBODY, NOBODY)
    command = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    if not _everybody_reaches(Path(sys.executable).resolve()):
        # This Python lives in somebody's home folder. To look into folders is no help with writing or connecting.
        command += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return command, data


def _everybody_reaches(file: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in file.parents)


def _wait_for(condition: Callable[[], object], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def test_a_gateway_that_runs_as_nobody_in_a_module_delivers_across_a_restart_of_edge_hub(edge: RunningEdge) -> None:
    """Nothing is configured: all that it knows of the cloud stands in the module's environment."""
    prefix, data = _as_nobody(edge)
    quick = {f"GATEWAY_{key.replace('.', '__').upper()}": value for key, value in QUICK.items()}
    environment = {**edge.device.environment(), **quick, "GATEWAY_GATEWAY__ID": ""}
    with GatewayProcess(data, environment=environment, prefix=prefix) as gateway:
        assert gateway.post_picture(PICTURE, key="before").status_code == 200
        _wait_for(lambda: edge.messages)
        [first] = edge.messages
        assert first.client_id == "edge-1/gateway"
        assert b'"gateway_id":"edge-1"' in first.body
        edge.stop_hub()
        assert gateway.post_picture(PICTURE, key="meanwhile").status_code == 200
        edge.start_hub()
        _wait_for(lambda: edge.messages)
        assert b'"submission_id":"meanwhile"' in edge.messages[0].body
    owner = NOBODY if prefix else os.geteuid()
    assert edge.device.workload.user_ids == {owner}
    assert edge.device.workload.signed >= 2
    assert (data / "outbox.db").stat().st_uid == owner
