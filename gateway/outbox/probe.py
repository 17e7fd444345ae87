"""How many results a second this disk takes: measured with a real outbox that is thrown away."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.clock import SystemClock
from gateway.messages import EventDraft, IdReuse, Reading, Transport
from gateway.metrics import Metrics
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.settings import OutboxSettings

TOGETHER = 32
# Enough to be steady on a fast disk, and an end on a slow one.
COMMITS_MAX = 200
TAKES_MAX_S = 3.0
_VALUES = '{"temperature":21.5,"humidity":40.2,"note":"' + "x" * 160 + '"}'


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRates:
    """Results a second, each acknowledged after its sync: one at a time, and ``together`` waiting at once."""

    one_by_one_per_s: float
    together_per_s: float
    together: int


def measure_commits(folder: Path, *, on_step: Callable[[int, int], None] = lambda _done, _of: None) -> CommitRates:
    """Commit into a new outbox in ``folder``, for about twice TAKES_MAX_S at most. Raises GatewayError."""
    return asyncio.run(_measure(folder, on_step))


async def _measure(folder: Path, on_step: Callable[[int, int], None]) -> CommitRates:
    outbox = open_outbox(folder, settings=OutboxSettings(), clock=SystemClock(), meter=Metrics())
    outbox.start()
    try:
        alone = await _rate(outbox, devices=1, commits=COMMITS_MAX, first=0)
        on_step(1, 2)
        together = await _rate(outbox, devices=TOGETHER, commits=COMMITS_MAX * TOGETHER // 4, first=COMMITS_MAX)
        on_step(2, 2)
    finally:
        await asyncio.to_thread(outbox.close)
    return CommitRates(one_by_one_per_s=alone, together_per_s=together, together=TOGETHER)


async def _rate(outbox: SqliteOutbox, *, devices: int, commits: int, first: int) -> float:
    numbers = iter(range(first, first + commits))
    began_s, done = time.monotonic(), 0

    async def device() -> None:
        nonlocal done
        for number in numbers:
            await outbox.commit([_draft(number)])
            done += 1
            if time.monotonic() - began_s > TAKES_MAX_S:
                return

    await asyncio.gather(*(device() for _ in range(devices)))
    return done / (time.monotonic() - began_s)


def _draft(number: int) -> EventDraft:
    return EventDraft(
        submission_id=f"probe-{number}",
        item=None,
        device_id="doctor",
        transport=Transport.HTTP,
        received_at=datetime.now(UTC),
        captured_at=None,
        payload_sha256="0" * 64,
        payload_bytes=len(_VALUES),
        result=Reading(values_json=_VALUES),
        on_id_reuse=IdReuse.NEW_EVENT,
    )
