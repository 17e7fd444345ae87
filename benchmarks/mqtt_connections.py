"""A thousand devices at the built-in MQTT listener: memory of each, and one reading a second from each, on disk.

The bare side of memory is an asyncio server that accepts the same connections and does nothing with them.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from benchmarks.figure import ROOT, Figure, cpu_seconds, rss_mb
from tests.fakes.gateway_process import GatewayProcess

DEVICES = 1000
SECONDS = 20
BARE = """
import asyncio
class Silent(asyncio.Protocol):
    def data_received(self, data): self.transport.write(bytes.fromhex("20020000"))
    def connection_made(self, transport): self.transport = transport
async def main():
    server = await asyncio.get_running_loop().create_server(Silent, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def measure() -> Iterator[Figure]:
    """Yield KiB per idle connection, KiB per connection that publishes, the rate and its latency."""
    bare_kib = _bare_kib()
    with tempfile.TemporaryDirectory() as name:
        environment = {"GATEWAY_MQTT__CONNECTIONS_MAX": str(DEVICES + 10), "GATEWAY_GATEWAY__LOG_LEVEL": "warning"}
        with GatewayProcess(Path(name) / "data", environment=environment) as gateway:
            pid, where = gateway.worker_pid, gateway.mqtt.partition("://")[2]
            before = rss_mb(pid)
            with _load(where, DEVICES, SECONDS, 1.0) as load:
                output = _stdout(load)
                output.readline()
                idle_kib = (rss_mb(pid) - before) * 1024 / DEVICES
                cpu_before = cpu_seconds(pid)
                result = json.loads(output.read())
                cpu = cpu_seconds(pid) - cpu_before
                busy_kib = (rss_mb(pid) - before) * 1024 / DEVICES
    yield Figure(
        name=f"memory of an idle MQTT connection, {DEVICES} of them",
        ours=f"{idle_kib:.1f} KiB",
        bare=f"{bare_kib:.1f} KiB",
        ratio=idle_kib / bare_kib,
    )
    yield Figure(
        name=f"the same after {SECONDS} s of 1 message/s each", ours=f"{busy_kib:.1f} KiB", bare="", ratio=None
    )
    yield Figure(
        name=f"{DEVICES} devices, 1 reading/s each: acknowledged ({result['lost']} devices lost)",
        ours=f"{result['acknowledged'] / SECONDS:.0f}/s",
        bare=f"{DEVICES}/s sent",
        ratio=result["acknowledged"] / SECONDS / DEVICES,
    )
    yield Figure(
        name="time to the PUBACK, median / 99th percentile",
        ours=f"{result['median_ms']:.0f} / {result['p99_ms']:.0f} ms",
        bare="",
        ratio=None,
    )
    yield Figure(
        name="CPU per reading, listener to disk",
        ours=f"{cpu / max(1, result['acknowledged']) * 1e6:.0f} µs",
        bare="",
        ratio=None,
    )


def _bare_kib() -> float:
    with subprocess.Popen([sys.executable, "-c", BARE], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        port = _stdout(server).readline().strip()
        before = rss_mb(server.pid)
        with _load(f"127.0.0.1:{port}", DEVICES, 0, 1.0) as load:
            _stdout(load).readline()
            after = rss_mb(server.pid)
            _stdout(load).read()
        server.kill()
    return (after - before) * 1024 / DEVICES


def _load(where: str, devices: int, seconds: int, interval_s: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.mqtt_load_client", where, str(devices), str(seconds), str(interval_s)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _stdout(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdout is not None
    return process.stdout


if __name__ == "__main__":
    for figure in measure():
        sys.stdout.write(f"{figure.name}: {figure.ours} (bare {figure.bare or 'none'})\n")
