"""What a full file costs: add, drain, stats, prune and opening, with millions of rows against an empty file.

``SCALE_ROWS=10000000 python -m benchmarks outbox_scale``; a million by default. Half of the rows are delivered, half
are pending. Each step is measured on both files in turns; figures are CPU seconds of this process (the disk's time is
the same for both, and noisy).
"""

import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.figure import Figure
from gateway.clock import SystemClock
from gateway.messages import EventDraft, IdReuse, Reading, Transport
from gateway.metrics import Metrics
from gateway.outbox.inspection import read_state
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.settings import OutboxSettings

ROWS = int(os.environ.get("SCALE_ROWS", "1000000"))
ROUNDS = 9
STATS_ROUNDS = 51  # they take a millisecond or two
GROUPS = 40
GROUP = 32
PAGES = 20
PAGE = 128
PRUNES = 10
FILL_ROWS = 100_000
AIM = "<= 1.2 x empty"
_FILL = """
WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)
INSERT INTO events (sequence, submission_id, device_id, transport, kind, state, received_at, payload_sha256,
                    payload_bytes, result, delivered_at)
SELECT i, printf('0193-%015d', i), 'sensor-' || (i % 50), 'mqtt', 'reading',
       CASE WHEN i <= :half THEN 'delivered' ELSE 'pending' END,
       :time, printf('%064d', i), 120, :result, CASE WHEN i <= :half THEN :time END
FROM n
"""
_COUNT = """
UPDATE ledger SET sequence_high = :rows, pending = :rows - :half, delivered = :half, delivered_total = :half
"""
_RESULT = '{"temperature":21.5,"humidity":40.2,"note":"' + "x" * 80 + '"}'

Step = Callable[[SqliteOutbox], Awaitable[None]]


def measure() -> Iterator[Figure]:
    """Yield the cost of each step on the full file, divided by that on an empty one."""
    with tempfile.TemporaryDirectory() as name:
        full, empty = Path(name) / "full", Path(name) / "empty"
        for folder in (full, empty):
            asyncio.run(make(folder))
        fill(full / "outbox.db", ROWS)
        yield from asyncio.run(_compare(full, empty))


def _open(folder: Path, *, keep_h: float = 1000) -> SqliteOutbox:
    settings = OutboxSettings(rows_max=4 * ROWS, bytes_max=1024**4, delivered_keep_h=keep_h)
    return open_outbox(folder, settings=settings, clock=SystemClock(), meter=Metrics())


async def make(folder: Path) -> None:
    """Make an empty outbox."""
    outbox = _open(folder)
    outbox.start()
    await asyncio.to_thread(outbox.close)


def fill(path: Path, rows: int) -> None:
    """Put so many events into an empty outbox; half of them are delivered."""
    moment = (datetime.now(UTC) - timedelta(days=100)).isoformat(timespec="microseconds")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for first in range(1, rows + 1, FILL_ROWS):
            last = min(rows, first + FILL_ROWS - 1)
            values = {"first": first, "last": last, "half": rows // 2, "time": moment, "result": _RESULT}
            connection.execute(_FILL, values)
            print(f"\rfilling: {last:,} of {rows:,} rows", end="", file=sys.stderr)
        print(f"\rfilled: {path.stat().st_size / 2**30:.2f} GiB            ", file=sys.stderr)
        connection.execute(_COUNT, {"rows": rows, "half": rows // 2})
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


async def _compare(full: Path, empty: Path) -> Iterator[Figure]:
    figures = [_opening(full, empty)]
    outboxes = {}
    for name, folder in (("full", full), ("empty", empty)):
        outboxes[name] = _open(folder)
        outboxes[name].start()
    steps: dict[str, Step] = {
        f"add {GROUPS * GROUP} readings": _add,
        f"read and mark {PAGES * PAGE} events": _drain,
        "state for a message's header, 100 times": _state,
    }
    for name, step in steps.items():
        costs: dict[str, list[float]] = {"full": [], "empty": []}
        for _ in range(ROUNDS):
            for which, outbox in outboxes.items():
                if step is _drain:
                    await _add(outbox, groups=2 * PAGES * PAGE // GROUP)
                before = time.process_time()
                await step(outbox)
                costs[which].append(time.process_time() - before)
        figures.append(_figure(name, costs))
    for outbox in outboxes.values():
        await asyncio.to_thread(outbox.close)
    figures += [_stats(full, empty), await _pruning(full, empty)]
    return iter(figures)


def _figure(name: str, costs: dict[str, list[float]]) -> Figure:
    full, empty = statistics.median(costs["full"]), statistics.median(costs["empty"])
    text = f"{name}: CPU time, {ROWS:,} rows over empty"
    return Figure(name=text, ours=f"{full * 1e3:.1f} ms", bare=f"{empty * 1e3:.1f} ms", ratio=full / empty, aim=AIM)


def _opening(full: Path, empty: Path) -> Figure:
    seconds = {}
    for folder in (empty, full):
        started = time.monotonic()
        _open(folder).close()
        seconds[folder] = time.monotonic() - started
    text = f"{seconds[full]:.2f} s"
    return Figure(
        name=f"open, {ROWS:,} rows", ours=text, bare=f"{seconds[empty]:.2f} s", ratio=None, aim="start <= 3 s"
    )


async def _add(outbox: SqliteOutbox, groups: int = GROUPS) -> None:
    for _ in range(groups):
        await asyncio.gather(*(outbox.commit([draft(n)]) for n in range(GROUP)))


def draft(n: int) -> EventDraft:
    """Return a reading of one of fifty sensors."""
    return EventDraft(
        submission_id=f"0194-{time.monotonic_ns():018d}",  # as minted ids (UUIDv7), they sort by time
        item=None,
        device_id=f"sensor-{(time.monotonic_ns() // 1000 + n) % 50}",
        transport=Transport.MQTT,
        received_at=datetime.now(UTC),
        captured_at=None,
        payload_sha256="0" * 64,
        payload_bytes=len(_RESULT),
        result=Reading(values_json=_RESULT),
        on_id_reuse=IdReuse.NEW_EVENT,
    )


async def _drain(outbox: SqliteOutbox) -> None:
    for _ in range(PAGES):
        page = await outbox.pending(after_sequence=0, limit=PAGE)
        assert len(page) == PAGE
        await outbox.mark_delivered([event.sequence for event in page], [])


async def _state(outbox: SqliteOutbox) -> None:
    for _ in range(100):
        await outbox.state()


def _stats(full: Path, empty: Path) -> Figure:
    costs: dict[str, list[float]] = {"full": [], "empty": []}
    for _ in range(STATS_ROUNDS):
        for which, folder in (("full", full), ("empty", empty)):
            before = time.process_time()
            read_state(folder)
            costs[which].append(time.process_time() - before)
    return _figure("gateway outbox stats (its figures)", costs)


async def _pruning(full: Path, empty: Path) -> Figure:
    """Prune delivered events of long ago: as many on either file."""
    costs: dict[str, list[float]] = {"full": [], "empty": []}
    now = datetime.now(UTC) + timedelta(days=100)
    for which, folder in (("full", full), ("empty", empty)):
        outbox = _open(folder, keep_h=0)
        outbox.start()
        for _ in range(PRUNES):
            await _add(outbox, groups=PAGES * PAGE // GROUP)
            await _drain(outbox)
            before = time.process_time()
            removed = await outbox.prune_step(now)
            assert removed, "there is something to prune"
            costs[which].append((time.process_time() - before) / removed * 1000)
        await asyncio.to_thread(outbox.close)
    return _figure("prune 1000 delivered events", costs)
