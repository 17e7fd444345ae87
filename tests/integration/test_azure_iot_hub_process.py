"""The SDK's process: it dies alone, leaks nothing, keeps secrets to itself, and never outlives the gateway."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from gateway.cloud import child_process
from gateway.cloud.child_link import AzureIotHubLink
from gateway.cloud.child_process import SdkProcess
from gateway.errors import LinkDown
from tests.fakes.canary import secret
from tests.fakes.hub import RunningHub, hub_in_thread, running_hub
from tests.fakes.link import eventually, link_to, message

ROOT = Path(__file__).resolve().parents[2]


def _pid(link: AzureIotHubLink) -> int:
    figures = link.child_figures()
    assert figures is not None
    return figures.pid


async def test_a_killed_process_is_a_lost_link_and_is_replaced(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub, send_timeout_s=10) as link:
        async with link.session() as session:
            hub.set_faults(no_puback=True)
            sending = asyncio.create_task(session.send(message(1)))
            await eventually(lambda: hub.messages)
            killed = _pid(link)
            os.kill(killed, signal.SIGKILL)
            with pytest.raises(LinkDown) as down:
                await sending
            assert down.value.reason == "child_died"
            with pytest.raises(LinkDown):
                await session.lost()
        hub.set_faults()
        async with link.session() as session:
            await session.send(message(2))
            assert _pid(link) != killed
        assert [received.message_id for received in hub.messages] == ["m-1", "m-2"]


async def test_a_process_that_dies_between_sessions_is_replaced(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        async with link.session():
            os.kill(_pid(link), signal.SIGKILL)
        async with link.session() as session:
            await session.send(message())
    assert len(hub.messages) == 1


async def test_a_frozen_process_is_noticed_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "HEARTBEAT_S", 0.2)
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        async with link.session() as session:
            os.kill(_pid(link), signal.SIGSTOP)
            with pytest.raises(LinkDown) as down:
                async with asyncio.timeout(10):
                    await session.lost()
            assert down.value.reason == "heartbeat_missed"
        async with link.session() as session:
            await session.send(message())


async def test_a_close_that_does_not_finish_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cloud.child_link.CLOSE_TIMEOUT_S", 0.3)
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        async with asyncio.timeout(10), link.session():
            os.kill(_pid(link), signal.SIGSTOP)
        async with link.session() as session:
            await session.send(message())


async def test_a_process_that_can_not_start_is_a_lost_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for executable in ("/bin/false", str(tmp_path / "missing")):
        monkeypatch.setattr(sys, "executable", executable)
        async with running_hub(tmp_path) as hub, link_to(hub) as link:
            with pytest.raises(LinkDown) as down:
                async with link.session():
                    pass
            assert down.value.reason == "child_not_started"


async def test_leaving_while_connecting_is_immediate(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub, connect_timeout_s=60) as link:
        hub.set_faults(silent_tls=True)

        async def connect() -> None:
            async with link.session():
                pass

        connecting = asyncio.create_task(connect())
        await eventually(lambda: hub.hub.proxy.tunnels_opened)
        connecting.cancel()
        async with asyncio.timeout(3):
            await asyncio.wait([connecting])
        assert link.child_figures() is None


async def test_closing_the_link_in_the_middle_of_everything_leaves_nothing(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        hub.set_faults(no_puback=True)
        async with link.session() as session:
            sending = asyncio.create_task(session.send(message()))
            await eventually(lambda: hub.messages)
            pid = _pid(link)
            await link.close()
            with pytest.raises(LinkDown):
                await sending
        assert not psutil.pid_exists(pid)


async def test_a_hundred_sessions_leak_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    """Good ones, dropped ones and refused ones: in the gateway and in the SDK's process."""
    with hub_in_thread(tmp_path) as hub:
        async with link_to(hub) as link:
            await _sessions(link, hub, 10)
            gateway, sdk = psutil.Process(), psutil.Process(_pid(link))
            figures = (gateway.num_threads, gateway.num_fds, sdk.num_threads, sdk.num_fds)
            before = [figure() for figure in figures]
            await _sessions(link, hub, 100)
            assert psutil.Process(_pid(link)).pid == sdk.pid
            # Three: a few threads come and go with whatever runs last; a leak would be a hundred.
            await eventually(lambda: all(figure() <= count + 3 for figure, count in zip(figures, before, strict=True)))


async def _sessions(link: AzureIotHubLink, hub: RunningHub, count: int) -> None:
    for number in range(count):
        hub.set_faults(reject_connect=5 if number % 3 == 1 else 0, drop_before_puback=number % 3 == 2)
        try:
            async with link.session() as session:
                await session.send(message(number))
        except LinkDown:
            assert number % 3


async def test_secrets_are_in_neither_command_line_nor_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_hub(tmp_path, proxy_credentials=f"site:{secret('s3cret-of-the-proxy')}") as hub:
        key = hub.connection_string().partition("SharedAccessKey=")[2]
        monkeypatch.setenv("IOTHUB_DEVICE_CONNECTION_STRING", hub.connection_string())
        monkeypatch.setenv("GATEWAY_CLOUD__PROXY", "http://site:s3cret@proxy")
        async with link_to(hub) as link, link.session():
            process = Path(f"/proc/{_pid(link)}")
            public = (process / "cmdline").read_bytes()
            if os.geteuid() == 0:  # nobody else may look: gateway/confidential.py
                public += (process / "environ").read_bytes()
                assert b"PATH=" in public
            assert key.encode() not in public
            assert b"s3cret" not in public


async def test_ctrl_c_does_not_take_the_process_away_before_the_gateway_has_closed(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link, link.session() as session:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(_pid(link), number)
        await asyncio.sleep(0.1)
        await session.send(message())


async def test_an_azure_folder_where_the_gateway_was_started_gets_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("azure", "gateway"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    async with running_hub(tmp_path) as hub, link_to(hub) as link, link.session() as session:
        await session.send(message())


_GATEWAY = """
import asyncio, sys
from pathlib import Path
from gateway.settings import CloudSettings
from tests.fakes.link import link_with

async def main():
    settings = CloudSettings.model_validate_json(sys.stdin.readline())
    async with link_with(settings) as link:
        async with link.session():
            print(link.child_figures().pid, file=sys.stderr, flush=True)
            await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "wedged"])
async def test_the_process_dies_with_a_gateway_that_is_killed(tmp_path: Path, busy: bool) -> None:
    """An orphan would fight with the next gateway's process for the identity, for ever."""
    with hub_in_thread(tmp_path) as hub:
        gateway = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _GATEWAY),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert gateway.stdin
        assert gateway.stderr
        gateway.stdin.write(hub.cloud_settings().model_dump_json().encode() + b"\n")
        sdk = psutil.Process(int(await gateway.stderr.readline()))
        if busy:
            hub.set_faults(half_open=True)
            await asyncio.sleep(0.2)
        gateway.kill()
        await gateway.wait()
        await asyncio.to_thread(sdk.wait, 5)
        assert not sdk.is_running()


_STANDS_STILL = """
import os, socket, threading, time
from gateway.cloud.azure_iot_hub import end_with
connection = socket.socket(fileno=os.dup(0))
threading.Thread(target=end_with, args=(connection,), daemon=True).start()
print("ready", flush=True)
time.sleep(60)
"""


def test_a_process_that_stands_still_lets_orders_wait_and_ends_with_the_gateway() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", _STANDS_STILL],
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        theirs.close()
        with process:
            assert process.stdout
            assert process.stdout.readline() == b"ready\n"
            ours.send(b"an order that nobody reads")
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.3)
            ours.close()
            assert process.wait(5) == 0


async def test_orders_that_make_no_sense_end_the_process() -> None:
    ends: list[str] = []
    child = await SdkProcess.start(on_message=lambda _: None, on_end=ends.append, monotonic=time.monotonic)
    child._writer.write(b"\xff" * 64)
    await eventually(lambda: ends)
    assert ends == ["child_died"]
    await child.wait_ended()


def test_the_gateway_imports_no_azure_and_the_sdk_process_no_web_framework() -> None:
    parent = "import gateway.cloud.child_link, sys; print([m for m in sys.modules if m.startswith(('azure', 'paho'))])"
    child = (
        "import gateway.cloud.azure_iot_hub, sys; heavy = {'pydantic', 'fastapi', 'numpy', 'structlog', 'uvicorn'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    for program in (parent, child):
        answer = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program], check=True, capture_output=True, text=True
        )
        assert answer.stdout.strip() == "[]", answer.stderr


async def test_what_the_process_costs_can_be_asked(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        assert link.child_figures() is None
        async with link.session():
            figures = link.child_figures()
            assert figures is not None
            assert figures.rss_bytes is not None
            assert 10e6 < figures.rss_bytes < 100e6
            assert 0 < figures.start_s < 60
    assert threading.active_count() < 20
