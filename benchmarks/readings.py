"""Durable readings: over HTTP one by one, as arrays, and straight into the intake's store; against bare SQLite."""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.run import median, run_json
from gateway.clock import SystemClock
from gateway.messages import EventDraft, IdReuse, Reading, Transport
from gateway.metrics import Metrics
from gateway.outbox.sqlite_outbox import open_outbox
from gateway.settings import OutboxSettings
from tests.fakes.gateway_process import GatewayProcess

ROUNDS = 3
SECONDS = 3.0
CLIENTS = 32
ARRAY = 100
READING = {"temperature": 21.5, "humidity": 40.2, "note": "x" * 600}


def measure() -> Iterator[Figure]:
    """Yield three rates, each against rows/s of plain SQL with the same group size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield _store_figure(folder)
        body, many = folder / "one.json", folder / "many.json"
        body.write_text(json.dumps(READING))
        many.write_text(json.dumps([READING] * ARRAY))
        environment = {"GATEWAY_LIMITS__READING_BYTES_MAX": str(128 * 1024)}
        with GatewayProcess(folder / "data", environment=environment) as gateway:
            where = gateway.http.removeprefix("http://")
            yield _http_figure(folder, where, body, 1, f"readings/s over HTTP, {CLIENTS} clients, one a request")
            yield _http_figure(
                folder, where, many, ARRAY, f"readings/s over HTTP, {CLIENTS} clients, {ARRAY} a request"
            )


def _bare(folder: Path, group: int) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        return float(run_json("benchmarks.bare_commits", own, str(group), str(SECONDS))["rows_per_s"])


def _http_figure(folder: Path, where: str, body: Path, per_request: int, name: str) -> Figure:
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(
            run_json(
                "benchmarks.load_client",
                where,
                "/v1/devices/sensor-1/readings",
                str(CLIENTS),
                str(SECONDS),
                str(body),
                "application/json",
            )
        )
        bare.append({"rate": _bare(folder, CLIENTS * per_request)})
    rate, limit = median(ours, "ok") * per_request / SECONDS, median(bare, "rate")
    return Figure(name=name, ours=f"{rate:.0f}/s", bare=f"{limit:.0f}/s", ratio=rate / limit)


def _store_figure(folder: Path) -> Figure:
    ours, bare = [], []
    for number in range(ROUNDS):
        ours.append({"rate": asyncio.run(_store_rate(folder / f"store-{number}"))})
        bare.append({"rate": _bare(folder, CLIENTS)})
    rate, limit = median(ours, "rate"), median(bare, "rate")
    return Figure(
        name=f"commits/s of the outbox, {CLIENTS} waiting at once, no HTTP",
        ours=f"{rate:.0f}/s",
        bare=f"{limit:.0f}/s",
        ratio=rate / limit,
    )


async def _store_rate(data_dir: Path) -> float:
    outbox = open_outbox(data_dir, settings=OutboxSettings(), clock=SystemClock(), meter=Metrics())
    outbox.start()
    until = time.monotonic() + SECONDS
    text = json.dumps(READING)

    async def client(number: int) -> int:
        done = 0
        while time.monotonic() < until:
            await outbox.commit([_draft(f"{number}-{done}", text)])
            done += 1
        return done

    rows = sum(await asyncio.gather(*(client(number) for number in range(CLIENTS))))
    await asyncio.to_thread(outbox.close)
    return rows / SECONDS


def _draft(key: str, text: str) -> EventDraft:
    return EventDraft(
        submission_id=key,
        item=None,
        device_id="sensor-1",
        transport=Transport.HTTP,
        received_at=datetime.now(UTC),
        captured_at=None,
        payload_sha256="0" * 64,
        payload_bytes=len(text),
        result=Reading(values_json=text),
        on_id_reuse=IdReuse.NEW_EVENT,
    )
