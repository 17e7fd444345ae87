"""Parts are started again with back-off; cancelling them is final."""

import asyncio
import random
from datetime import UTC, datetime

import pytest

from gateway.errors import AdapterUnavailable
from gateway.supervisor import RESTART_MAX_S, keep_running, serve_adapter


class StillClock:
    def monotonic(self) -> float:
        return 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


async def _run_until(failures: list[BaseException | None], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await real_sleep(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    done = asyncio.Event()

    async def part() -> None:
        if not failures:
            done.set()
            await asyncio.Event().wait()
        failure = failures.pop(0)
        if failure is not None:
            raise failure

    task = asyncio.create_task(keep_running("part", part, clock=StillClock(), rng=random.Random(1)))
    await done.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return waits


async def test_part_that_fails_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = await _run_until([AdapterUnavailable("busy"), KeyError("bug"), None], monkeypatch)
    assert len(waits) == 3


async def test_waits_grow_and_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = await _run_until([AdapterUnavailable("busy")] * 12, monkeypatch)
    assert waits[0] <= 1.0
    assert max(waits) <= RESTART_MAX_S
    assert waits[-1] >= RESTART_MAX_S / 2


class BreakingAdapter:
    name = "breaking"

    def __init__(self) -> None:
        self.stopped = 0

    async def start(self) -> None:
        return

    async def failed(self) -> None:
        raise AdapterUnavailable("cable pulled")

    async def stop(self, deadline_s: float) -> None:
        self.stopped += 1

    def describe(self) -> str:
        return ""


async def test_broken_adapter_is_stopped_before_the_next_try() -> None:
    adapter = BreakingAdapter()
    started: list[bool] = []
    with pytest.raises(AdapterUnavailable, match="cable"):
        await serve_adapter(adapter, on_started=lambda: started.append(True), stop_deadline_s=1)
    assert started == [True]
    assert adapter.stopped == 1
