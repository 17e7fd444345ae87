"""Draining a backlog of readings to the stand-in hub, each delivery marked on disk; against the bare SDK."""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from benchmarks.figure import Figure
from benchmarks.run import median, run_json
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.hub import RunningHub, hub_in_thread

ROUNDS = 3
EVENTS = 4000
ARRAY = 100
BATCHES = {"one 4 KB block a message": 4096, "24 KB a message": 24 * 1024}
PATIENCE_S = 120.0


def measure() -> Iterator[Figure]:
    """Yield results/s for the default batch and for a larger one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with hub_in_thread(folder) as hub:
            for text, batch_bytes in BATCHES.items():
                rounds = [_round(folder / f"{batch_bytes}-{n}", hub, batch_bytes) for n in range(ROUNDS)]
                rate, bare = median(rounds, "ours"), median(rounds, "bare")
                yield Figure(
                    name=f"drained results/s, {text}",
                    ours=f"{rate:.0f}/s",
                    bare=f"{bare:.0f}/s",
                    ratio=rate / bare,
                )


def _round(folder: Path, hub: RunningHub, batch_bytes: int) -> dict[str, float]:
    folder.mkdir()
    data_dir = folder / "data"
    _fill(data_dir)
    hub.hub.record.clear()
    environment = hub.environment() | {
        "GATEWAY_CLOUD__MESSAGES_PER_S_MAX": "10000",
        "GATEWAY_CLOUD__BATCH_BYTES_MAX": str(min(batch_bytes, 4096)),
        "GATEWAY_CLOUD__DRAIN_BATCH_BYTES_MAX": str(batch_bytes),
    }
    with GatewayProcess(data_dir, environment=environment):
        while not hub.messages:
            time.sleep(0.002)
        started = time.monotonic()
        while _arrived(hub) < EVENTS and time.monotonic() < started + PATIENCE_S:
            time.sleep(0.01)
        seconds = time.monotonic() - started
    bodies = folder / "bodies.json"
    bodies.write_text(json.dumps([message.body.decode() for message in hub.messages]))
    where = hub.description
    bare = run_json(
        "benchmarks.bare_sdk", where.connection_strings["gw1"], str(where.ca_file), where.proxy, str(bodies)
    )
    return {"ours": EVENTS / seconds, "bare": EVENTS / bare["seconds"]}


def _arrived(hub: RunningHub) -> int:
    sequences: list[int] = [item["sequence"] for item in json.loads(hub.messages[-1].body)["items"]]
    return max(sequences)


def _fill(data_dir: Path) -> None:
    reading = {"n": "temperature", "u": "Cel", "v": 21.5}
    with GatewayProcess(data_dir, environment={"GATEWAY_LIMITS__READING_BYTES_MAX": str(128 * 1024)}) as gateway:
        for _ in range(EVENTS // ARRAY):
            url = f"{gateway.http}/v1/devices/sensor-1/readings"
            requests.post(url, json=[reading] * ARRAY, timeout=60).raise_for_status()
