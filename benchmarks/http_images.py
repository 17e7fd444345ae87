"""Pictures over HTTP: posted, classified, committed, answered; against the bare decode+invoke loop.

CPU seconds are the gateway's own, clients excluded; both sides run in turn, in this one run, on as many threads.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figure import Figure, cpu_seconds, model_folder, photograph
from benchmarks.run import median, run_json
from tests.fakes.gateway_process import GatewayProcess

ROUNDS = 3
SECONDS = 4.0
CLIENTS = (1, 8, 32)


def measure() -> Iterator[Figure]:
    """Yield CPU per picture and rate for each number of clients, and the latency added when idle."""
    model = model_folder()
    threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.jpg"
        picture.write_bytes(photograph())
        environment = {"GATEWAY_LIMITS__MEMORY_BUDGET_MB": "512"}
        with GatewayProcess(Path(folder) / "data", model=model, environment=environment) as gateway:
            where = gateway.http.removeprefix("http://")
            for clients in CLIENTS:
                yield from _measure_clients(gateway, where, model, picture, threads, clients)
            yield _added_when_idle(where, model, picture)


def _measure_clients(
    gateway: GatewayProcess, where: str, model: Path, picture: Path, threads: int, clients: int
) -> Iterator[Figure]:
    ours, bare = [], []
    for _ in range(ROUNDS):
        before = cpu_seconds(gateway.worker_pid)
        load = run_json("benchmarks.load_client", where, "/image", str(clients), str(SECONDS), str(picture))
        load["cpu_s_per_picture"] = (cpu_seconds(gateway.worker_pid) - before) / max(1, load["ok"])
        ours.append(load)
        bare.append(run_json("benchmarks.bare_classify", str(model), str(picture), str(threads), str(SECONDS)))
    cpu, bare_cpu = median(ours, "cpu_s_per_picture"), median(bare, "cpu_s_per_picture")
    yield Figure(
        name=f"CPU per picture, {clients} clients",
        ours=f"{cpu * 1000:.2f} ms",
        bare=f"{bare_cpu * 1000:.2f} ms",
        ratio=bare_cpu / cpu,
        aim="≥ 0.95",
    )
    rate, bare_rate = median(ours, "ok") / SECONDS, median(bare, "per_s")
    yield Figure(
        name=f"pictures/s, {clients} clients (the clients share the cores)",
        ours=f"{rate:.1f}/s",
        bare=f"{bare_rate:.1f}/s",
        ratio=rate / bare_rate,
    )


def _added_when_idle(where: str, model: Path, picture: Path) -> Figure:
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(run_json("benchmarks.load_client", where, "/image", "1", str(SECONDS), str(picture)))
        bare.append(run_json("benchmarks.bare_classify", str(model), str(picture), "1", str(SECONDS)))
    latency, bare_ms = median(ours, "median_ms"), median(bare, "ms_per_picture_and_thread")
    return Figure(
        name="latency of one picture when idle (median)",
        ours=f"{latency:.2f} ms",
        bare=f"{bare_ms:.2f} ms",
        ratio=bare_ms / latency,
        aim=f"≤ 3 ms added (added: {latency - bare_ms:.2f} ms)",
    )
