"""Draining a backlog after an outage, each delivery marked on disk; against the bare SDK sending the same messages.

Ours: a running gateway with a full outbox; the hub, which refused it, lets it in; from the first message sent until
the file has nothing pending. Bare: the azure SDK alone, with those very messages (bodies, properties, window of 16).
Both in turns, flat out over loopback and over lines of a round trip. ``DRAIN_ROUNDS=5 DRAIN_LINES=0,50``: other
choices. The CPU of a result is that of the gateway's process and of the SDK's; the bare SDK's is what sending costs
anyway. On a machine of two cores the flat-out figure says little of a link: hub, SDK and gateway want one each.
"""

import asyncio
import json
import os
import random
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

from benchmarks.figure import Figure, cpu_seconds
from benchmarks.run import median, run_json
from gateway.clock import SystemClock
from gateway.messages import Classification, EventDraft, IdReuse, ModelIdentity, Prediction, Transport
from gateway.metrics import Metrics
from gateway.outbox.sqlite_outbox import open_outbox
from gateway.settings import OutboxSettings
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.hub import RunningHub, hub_in_thread

ROUNDS = int(os.environ.get("DRAIN_ROUNDS", "3"))
ROUND_TRIPS_MS = [int(text) for text in os.environ.get("DRAIN_LINES", "0,20,50,100").split(",")]
PATIENCE_S = 180.0
LABELS = ("apple", "banana", "cucumber", "orange", "pear", "tomato")
MODEL = ModelIdentity(name="fruit-6", model_sha256="3f" * 32, labels_sha256="a1" * 32, runtime="tflite-runtime 2.14.0")
AIM = ">= 0.9 on a line"
CHECKED = re.compile(r'gateway_outbox_checks_total\{outcome="sound"\} [1-9]')


@dataclass(frozen=True, slots=True)
class Load:
    """How large messages are, and how many results wait: some seconds' worth."""

    name: str
    batch_bytes: int
    results: int


LOADS = (Load("4 KB a message", 4096, 6_000), Load("24 KB a message", 24 * 1024, 60_000))


def measure() -> Iterator[Figure]:
    """Yield results/s for each line and size of message."""
    with tempfile.TemporaryDirectory() as name, hub_in_thread(Path(name)) as hub:
        folder = Path(name)
        for load in LOADS:
            asyncio.run(_fill(folder / str(load.batch_bytes), load.results))
        for round_trip_ms in ROUND_TRIPS_MS:
            hub.hub.proxy.one_way_delay_s = round_trip_ms / 2000
            for load in LOADS:
                rounds = [_round(folder, hub, load, number) for number in range(ROUNDS)]
                yield _figure(load, round_trip_ms, rounds)


def _figure(load: Load, round_trip_ms: int, rounds: list[dict[str, float]]) -> Figure:
    line = f"round trip {round_trip_ms} ms" if round_trip_ms else "flat out over loopback"

    def cpu_us(which: str) -> str:
        return f"{median(rounds, which) * 1e6 / load.results:.0f}"

    return Figure(
        name=f"drained results/s, {load.name}, {line}",
        ours=f"{median(rounds, 'ours'):.0f}/s; CPU {cpu_us('gateway_cpu_s')} + {cpu_us('sdk_cpu_s')} us each",
        bare=f"{median(rounds, 'bare'):.0f}/s; CPU {cpu_us('bare_cpu_s')} us each",
        ratio=median(rounds, "ratio"),
        aim=AIM if round_trip_ms else "",
    )


def _round(folder: Path, hub: RunningHub, load: Load, number: int) -> dict[str, float]:
    data_dir = folder / f"round-{load.batch_bytes}-{number}"
    shutil.copytree(folder / str(load.batch_bytes), data_dir)
    hub.hub.record.clear()
    ours_s, gateway_cpu_s, sdk_cpu_s = _ours(data_dir, hub, load)
    messages = folder / "messages.jsonl"
    messages.write_text("".join(json.dumps(message.to_json() | _sent(message.body)) + "\n" for message in hub.messages))
    where = hub.description
    bare = run_json(
        "benchmarks.bare_sdk", where.connection_strings["gw1"], str(where.ca_file), where.proxy, str(messages)
    )
    shutil.rmtree(data_dir)
    return {
        "ours": load.results / ours_s,
        "bare": load.results / bare["seconds"],
        "ratio": bare["seconds"] / ours_s,
        "gateway_cpu_s": gateway_cpu_s,
        "sdk_cpu_s": sdk_cpu_s,
        "bare_cpu_s": bare["cpu_s"],
    }


def _sent(body: bytes) -> dict[str, str]:
    return {"body": body.decode()}


def _ours(data_dir: Path, hub: RunningHub, load: Load) -> tuple[float, float, float]:
    """Return seconds from the first message to nothing pending, and the CPU seconds of gateway and SDK process."""
    environment = hub.environment() | {
        "GATEWAY_CLOUD__MESSAGES_PER_S_MAX": "10000",
        "GATEWAY_CLOUD__BACKOFF_INITIAL_S": "0.5",
        "GATEWAY_CLOUD__BACKOFF_MAX_S": "0.5",
        "GATEWAY_CLOUD__BATCH_BYTES_MAX": str(min(load.batch_bytes, 4096)),
        "GATEWAY_CLOUD__DRAIN_BATCH_BYTES_MAX": str(load.batch_bytes),
    }
    hub.set_faults(reject_connect=3)
    with GatewayProcess(data_dir, environment=environment) as gateway:
        _wait_until_checked(gateway)  # the outage: the gateway has been up for long and is refused by the hub
        _, *pids = gateway.processes()  # their parent only waits
        before_s = [cpu_seconds(pid) for pid in pids]
        hub.set_faults()
        _wait_until_drained(data_dir / "outbox.db")
        drained_at = datetime.now(UTC)
        gateway_cpu_s, sdk_cpu_s = (cpu_seconds(pid) - s for pid, s in zip(pids, before_s, strict=True))
    arrived = sum(len(json.loads(message.body)["items"]) for message in hub.messages)
    assert arrived == load.results, f"{arrived} results of {load.results} arrived"
    sent_at = hub.messages[0].received_at - timedelta(seconds=hub.hub.proxy.one_way_delay_s)
    return (drained_at - sent_at).total_seconds(), gateway_cpu_s, sdk_cpu_s


def _wait_until_checked(gateway: GatewayProcess) -> None:
    """Wait for the check of the whole file after a start, which reads on for minutes: outages find it done."""
    deadline = time.monotonic() + PATIENCE_S
    while not CHECKED.search(requests.get(f"{gateway.admin}/metrics", timeout=10).text):
        assert time.monotonic() < deadline, f"not checked within {PATIENCE_S} s"
        time.sleep(0.5)
    time.sleep(2)


def _wait_until_drained(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        while connection.execute("SELECT EXISTS (SELECT 1 FROM events WHERE state = 'pending')").fetchone()[0]:
            assert time.monotonic() < deadline, f"not drained within {PATIENCE_S} s"
            time.sleep(0.01)


async def _fill(data_dir: Path, results: int) -> None:
    outbox = open_outbox(data_dir, settings=OutboxSettings(), clock=SystemClock(), meter=Metrics())
    outbox.start()
    rng = random.Random(7)
    for first in range(0, results, 500):
        commits = [outbox.commit([_draft(rng, number)]) for number in range(first, first + 500)]
        await asyncio.gather(*commits)
    await asyncio.to_thread(outbox.close)


def _draft(rng: random.Random, number: int) -> EventDraft:
    return EventDraft(
        submission_id=f"01987654-0000-7000-8000-{number:012x}",
        item=None,
        device_id=f"camera-{number % 10}",
        transport=Transport.HTTP,
        received_at=datetime.now(UTC),
        captured_at=None,
        payload_sha256=f"{rng.getrandbits(256):064x}",
        payload_bytes=60_000,
        result=_result(rng),
        on_id_reuse=IdReuse.NEW_EVENT,
    )


def _result(rng: random.Random) -> Classification:
    weights = [rng.random() ** 4 for _ in LABELS]
    return Classification(
        predictions=tuple(
            Prediction(label=label, probability=round(weight / sum(weights), 8))
            for label, weight in zip(LABELS, weights, strict=True)
        ),
        model=MODEL,
        image_format="JPEG",
        image_width=1024,
        image_height=768,
        decode_ms=round(rng.uniform(3, 9), 3),
        preprocess_ms=round(rng.uniform(1, 3), 3),
        inference_ms=round(rng.uniform(8, 20), 3),
    )
