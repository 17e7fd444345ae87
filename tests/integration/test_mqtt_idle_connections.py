"""Ten thousand silent connections at the listener of a real gateway: what each costs, and that others are served."""

import hashlib
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import requests

from adapters.mqtt.codec_packets import Puback
from tests.fakes.gateway_process import ROOT, GatewayProcess
from tests.fakes.mqtt_device import RawDevice
from tests.fakes.mqtt_load import picture, rows

IDLE = 10_000
CONNECTIONS_MAX = IDLE + 100
# Measured: 5.3 KiB on x86_64 with CPython 3.11 (transport, protocol, connection, session, dictionary entries), below
# a tenth of which differs between runs. At 8 KiB ten thousand take 80 MiB, what the default budget leaves for pictures;
# one buffer for each connection, of the size of a read, would be twice that.
KIB_EACH_MAX = 8
# What a process opens beside its connections.
OTHER_FILES = 300
USUAL_SOFT_LIMIT = 1024
SETTLE_TIMEOUT_S = 30.0

_SOFT, _HARD = resource.getrlimit(resource.RLIMIT_NOFILE)
_NEEDED = CONNECTIONS_MAX + OTHER_FILES

pytestmark = pytest.mark.skipif(
    resource.RLIM_INFINITY != _HARD < _NEEDED,
    reason=f"the hard limit of open files here is {_HARD}; {IDLE} connections need {_NEEDED} in each process",
)


@contextmanager
def usual_soft_limit() -> Iterator[None]:
    """What is started meanwhile has the soft limit that a login shell gives; it must raise its own."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(USUAL_SOFT_LIMIT, _SOFT), _HARD))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_SOFT, _HARD))


@contextmanager
def idle_devices(port: int) -> Iterator["subprocess.Popen[str]"]:
    """Connect them, and wait until all are."""
    command = [sys.executable, "-m", "tests.fakes.mqtt_idle", str(port), str(IDLE)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as devices:
        try:
            assert pipe(devices.stdout).readline() == "connected\n"
            yield devices
        finally:
            devices.kill()


def pipe(end: IO[str] | None) -> IO[str]:
    assert end is not None
    return end


def resident_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


def open_connections(gateway: GatewayProcess) -> int:
    text = requests.get(f"{gateway.admin}/metrics", timeout=10).text
    found = re.search(r'^gateway_mqtt_connections\{way="listener"\} (\S+)$', text, re.MULTILINE)
    return int(float(found[1])) if found is not None else 0


def wait_for_connections(gateway: GatewayProcess, count: int) -> None:
    give_up_at = time.monotonic() + SETTLE_TIMEOUT_S
    while (found := open_connections(gateway)) != count:
        assert time.monotonic() < give_up_at, f"{found} connections, not {count}"
        time.sleep(0.1)


async def send(device: RawDevice, data_dir: Path, numbers: range) -> None:
    """Publish pictures and readings; each must be on disk at the moment at which its PUBACK is here."""
    for number in numbers:
        kind, payload = ("images", picture(number)) if number % 4 == 0 else ("readings", b'{"n":%d}' % number)
        device.publish(payload, topic=f"devices/cam-1/{kind}", packet_id=number + 1)
        assert await device.receive() == Puback(packet_id=number + 1)
        assert rows(data_dir, "payload_sha256")[hashlib.sha256(payload).hexdigest()] == 1


async def test_ten_thousand_idle_connections_cost_bounded_memory_and_a_device_is_served(tmp_path: Path) -> None:
    environment = {"GATEWAY_MQTT__CONNECTIONS_MAX": str(CONNECTIONS_MAX)}
    with usual_soft_limit(), GatewayProcess(tmp_path / "data", environment=environment) as gateway:
        port = int(gateway.mqtt.rpartition(":")[2])
        async with await RawDevice.connect(port, "cam-1") as device:
            await send(device, gateway.data_dir, range(8))  # so that what is loaded at the first picture is there
            before = resident_kib(gateway.worker_pid)
            with idle_devices(port) as devices:
                each = (resident_kib(gateway.worker_pid) - before) / IDLE
                assert each < KIB_EACH_MAX, f"{each:.1f} KiB for each connection"
                wait_for_connections(gateway, IDLE + 1)
                await send(device, gateway.data_dir, range(8, 40))
                pipe(devices.stdin).close()
                assert pipe(devices.stdout).readline() == "0\n", "connections were ended"
            wait_for_connections(gateway, 1)
            await send(device, gateway.data_dir, range(40, 44))
