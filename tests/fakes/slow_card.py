"""A real outbox on a card that takes its time for a sync."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from gateway.clock import SystemClock
from gateway.outbox.gathering import Pace
from gateway.outbox.requests import Request
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.outbox.store import Committed, Store
from gateway.settings import OutboxSettings
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import KeptMeter

CARD_SYNC_S = 0.02


class SlowCard(Store):
    """A store whose syncs take CARD_SYNC_S more, as an SD card's do."""

    def transact(self, requests: Sequence[Request[Any]]) -> Committed:
        committed = super().transact(requests)
        time.sleep(CARD_SYNC_S)
        return replace(committed, sync_s=committed.sync_s + CARD_SYNC_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How devices that send again when they are acknowledged were served."""

    results: int
    syncs: int
    seconds: float


async def serve(data_dir: Path, *, devices: int, rounds: int, gathers: bool) -> Served:
    """Let ``devices`` commit ``rounds`` results each. ``gathers`` False: a commit never waits for company."""
    with contextlib.nullcontext() if gathers else mock.patch.object(Pace, "wait_s", return_value=0.0):
        with mock.patch("gateway.outbox.opening.Store", SlowCard):
            meter = KeptMeter()
            outbox = open_outbox(data_dir, settings=OutboxSettings(), clock=SystemClock(), meter=meter)
        outbox.start()
        began_s = time.monotonic()
        await asyncio.gather(*(_device(outbox, number, rounds) for number in range(devices)))
        seconds = time.monotonic() - began_s
        results = (await outbox.state()).pending
        await asyncio.to_thread(outbox.close)
    sizes = meter.observations["gateway_outbox_commit_group_size"]
    return Served(results=results, syncs=len(sizes), seconds=seconds)


async def _device(outbox: SqliteOutbox, number: int, rounds: int) -> None:
    for n in range(rounds):
        await outbox.commit([draft(f"{number}-{n}")])
        await asyncio.sleep(0.001 * (number % 4))  # not all are equally quick
