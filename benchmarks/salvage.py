"""How soon a gateway serves whose large outbox went bad, and how long the rest takes, under commits.

``SALVAGE_ROWS=1000000 python -m benchmarks salvage`` (a million is the default). Half of the rows are delivered, half
pending. Two damages, each on a file of its own: a leaf of the events, and the first page, without which nothing says
where the tables are. Served is when the first reading is committed. Meanwhile a reading comes twenty times a second.
"""

import asyncio
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

from benchmarks.figure import Figure
from benchmarks.outbox_scale import draft, fill, make
from gateway.clock import SystemClock
from gateway.metrics import Metrics
from gateway.outbox.damage import DamageNote, write_note
from gateway.outbox.pages import PAGE_BYTES
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.settings import OutboxSettings

ROWS = int(os.environ.get("SALVAGE_ROWS", "1000000"))
COMMIT_EVERY_S = 0.05
SERVING_AIM_S = 5.0
TABLE_LEAF = b"\x0d"  # "The SQLite Database File Format", section 1.6
DAMAGES = ("a leaf of the events", "the first page")


def measure() -> Iterator[Figure]:
    """Yield, for each damage, the time until devices are served, and that of the rest."""
    with tempfile.TemporaryDirectory() as name:
        sound = Path(name) / "sound"
        asyncio.run(make(sound))
        fill(sound / "outbox.db", ROWS)
        bare_s = _read_all(sound / "outbox.db")
        for number, damage in enumerate(DAMAGES):
            folder = Path(name) / f"damaged-{number}"
            shutil.copytree(sound, folder)
            is_first = damage == "the first page"
            _spoil(folder / "outbox.db", first=is_first)
            if not is_first:  # which a start does not see: a running gateway's check did, and wrote this down
                write_note(folder, DamageNote(why="a page can't be read"))
            yield from asyncio.run(_recovering(folder, damage, bare_s))
            shutil.rmtree(folder)


def _read_all(file: Path) -> float:
    """Return the seconds that SQLite takes to read every row of the sound file."""
    began_s = time.monotonic()
    with closing(sqlite3.connect(file)) as connection:
        for _ in connection.execute("SELECT * FROM events"):
            pass
    return time.monotonic() - began_s


def _spoil(file: Path, *, first: bool) -> None:
    with file.open("r+b") as opened:
        at = 0 if first else _some_leaf(opened, file.stat().st_size // PAGE_BYTES // 2)
        opened.seek(at)
        opened.write(b"\xa5" * PAGE_BYTES)


def _some_leaf(file: BinaryIO, page: int) -> int:
    """Return where the first leaf of a table begins from a page on."""
    while True:
        file.seek(page * PAGE_BYTES)
        if file.read(1) == TABLE_LEAF:
            return page * PAGE_BYTES
        page += 1


async def _recovering(folder: Path, damage: str, bare_s: float) -> Iterator[Figure]:
    began_s = time.monotonic()
    outbox = await asyncio.to_thread(_opened, folder)
    outbox.start()
    await outbox.commit([draft(0)])
    serving_s = time.monotonic() - began_s
    load = asyncio.create_task(_commit_on(outbox))
    cpu_s = time.process_time()
    await outbox.salvage()
    rest_s, cpu_s = time.monotonic() - began_s - serving_s, time.process_time() - cpu_s
    load.cancel()
    waited = await load
    (state,) = outbox.set_aside
    await asyncio.to_thread(outbox.close)
    slowest_ms = statistics.quantiles(waited, n=100)[98] * 1e3
    what = f"{ROWS:,} events, {damage} bad"
    return iter(
        (
            Figure(
                name=f"{what}: until the first commit",
                ours=f"{serving_s:.1f} s",
                bare="",
                ratio=None,
                aim=f"<= {SERVING_AIM_S:g} s",
            ),
            Figure(
                name=f"{what}: the rest, {state.rows:,} rows saved, {state.damaged:,} told as damaged; a commit takes "
                f"{statistics.median(waited) * 1e3:.0f} ms meanwhile, p99 {slowest_ms:.0f} ms",
                ours=f"{rest_s:.0f} s ({cpu_s:.0f} s CPU)",
                bare=f"{bare_s:.1f} s to read it",
                ratio=bare_s / rest_s,
            ),
        )
    )


def _opened(folder: Path) -> SqliteOutbox:
    settings = OutboxSettings(rows_max=4 * ROWS, bytes_max=1024**4)
    return open_outbox(folder, settings=settings, clock=SystemClock(), meter=Metrics())


async def _commit_on(outbox: SqliteOutbox) -> list[float]:
    waited: list[float] = []
    with suppress(asyncio.CancelledError):
        while True:
            began_s = time.monotonic()
            await outbox.commit([draft(len(waited))])
            waited.append(time.monotonic() - began_s)
            await asyncio.sleep(COMMIT_EVERY_S)
    return waited
