"""What the outbox is built from in tests: a clock that stands still, a meter that keeps what it was told."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from gateway.messages import ClockReading
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.settings import OutboxSettings
from tests.fakes.outbox import SOME_TIME


class StillClock:
    """A BootClock that moves only when told to: the writer never prunes by itself."""

    def __init__(self) -> None:
        self.boot_id = "boot-1"
        self.wall = SOME_TIME
        self.seconds = 0.0
        self.boottime_s = 100.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def reading(self) -> ClockReading:
        return ClockReading(wall=self.wall, boottime_s=self.boottime_s)

    def advance(self, step: timedelta, *, seconds: float = 0.0) -> None:
        """Let time pass; the monotonic clock, by which the writer prunes, moves only by ``seconds``."""
        self.wall += step
        self.boottime_s += step.total_seconds()
        self.seconds += seconds

    def jump(self, step: timedelta) -> None:
        """Set the wall clock."""
        self.wall += step

    def reboot(self, *, off: timedelta = timedelta(), wall: datetime | None = None) -> None:
        """Start the machine anew after ``off`` without power; ``wall``: what a board without a clock then thinks."""
        self.boot_id = f"boot-{int(self.boot_id.rpartition('-')[2]) + 1}"
        self.boottime_s = 1.0
        self.wall = self.wall + off if wall is None else wall


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
