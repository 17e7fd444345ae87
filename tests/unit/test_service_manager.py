"""What systemd is told, on a socket of the test's own."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.service_manager import ALIVE, READY, ServiceManager


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        yield listener


def manager(listener: socket.socket, **more: str) -> ServiceManager:
    return ServiceManager({"NOTIFY_SOCKET": listener.getsockname(), **more})


def test_lines_arrive_as_one_datagram(systemd: socket.socket) -> None:
    manager(systemd).tell(READY, "STATUS=serving")
    assert systemd.recv(4096) == b"READY=1\nSTATUS=serving"


def test_at_sign_names_an_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0gateway-test-{os.getpid()}")
        listener.settimeout(10)
        ServiceManager({"NOTIFY_SOCKET": f"@gateway-test-{os.getpid()}"}).tell(READY)
        assert listener.recv(4096) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/no/such/socket"])
def test_without_somebody_who_listens_nothing_happens(address: str) -> None:
    ServiceManager({"NOTIFY_SOCKET": address}).tell(READY)


def test_systemd_that_does_not_read_never_holds_up_the_caller(systemd: socket.socket) -> None:
    for _ in range(5000):  # far more than a socket's queue takes
        manager(systemd).tell(ALIVE)


@pytest.mark.parametrize(
    ("environment", "every_s"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 20.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 20.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getppid())}, 20.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),  # meant for another process
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_three_pings_fit_the_watchdogs_time(environment: dict[str, str], every_s: float | None) -> None:
    assert ServiceManager(environment).ping_every_s == every_s


async def test_stalled_event_loop_sends_no_ping(systemd: socket.socket) -> None:
    serving = asyncio.Event()
    serving.set()
    pings = asyncio.create_task(manager(systemd, WATCHDOG_USEC="90000").keep_pinging(serving))
    assert (await asyncio.to_thread(systemd.recv, 4096)) == ALIVE.encode()
    await asyncio.sleep(0)
    systemd.setblocking(False)
    _drain(systemd)
    _stall_the_loop(0.3)
    assert _drain(systemd) == 0
    systemd.settimeout(10)
    assert (await asyncio.to_thread(systemd.recv, 4096)) == ALIVE.encode()  # and goes on when the loop does
    pings.cancel()


def _stall_the_loop(for_s: float) -> None:
    import time

    time.sleep(for_s)


def _drain(listener: socket.socket) -> int:
    count = 0
    try:
        while listener.recv(4096):
            count += 1
    except BlockingIOError:
        return count
    return count
