"""What the outbox is built from in tests: a clock that stands still, a meter that keeps what it was told."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.settings import OutboxSettings
from tests.fakes.outbox import SOME_TIME


class StillClock:
    """Moves only when told to: the writer never prunes by itself."""

    def __init__(self) -> None:
        self.wall = SOME_TIME
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, step: timedelta, *, seconds: float = 0.0) -> None:
        """Move the wall clock; the monotonic one only by ``seconds``."""
        self.wall += step
        self.seconds += seconds


class KeptMeter:
    """Keeps counters, observations and levels by name (levels by name and label value)."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.observations: dict[str, list[float]] = {}
        self.levels: dict[tuple[str, ...], float] = {}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        self.counts[name] += int(amount)

    def observe(self, name: str, value: float, **labels: str) -> None:
        self.observations.setdefault(name, []).append(value)

    def level(self, name: str, value: float, **labels: str) -> None:
        self.levels[(name, *labels.values())] = value


@asynccontextmanager
async def opened(
    data_dir: Path,
    *,
    settings: OutboxSettings | None = None,
    clock: StillClock | None = None,
    meter: KeptMeter | None = None,
) -> AsyncIterator[SqliteOutbox]:
    """Enter: an open, started outbox of ``data_dir``. Leave: it is closed."""
    outbox = open_outbox(
        data_dir, settings=settings or OutboxSettings(), clock=clock or StillClock(), meter=meter or KeptMeter()
    )
    outbox.start()
    try:
        yield outbox
    finally:
        outbox.close()
