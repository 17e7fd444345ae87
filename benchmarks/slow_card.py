"""Results a second and syncs a result on a card that takes 20 ms more for a sync (simulated); against bare SQL on it.

Ours waits for company where syncs are slow (gateway/outbox/gathering.py); "never waiting" is the same without.
"""

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figure import Figure
from tests.fakes.slow_card import CARD_SYNC_S, Served, serve

DEVICES = {1: 60, 4: 60, 32: 60}  # how many, and how many results of each


def measure() -> Iterator[Figure]:
    """Yield for each number of devices: results/s against bare SQL, and syncs a result against never waiting."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for devices, rounds in DEVICES.items():
            gathered = _served(folder / f"gathered-{devices}", devices, rounds, gathers=True)
            hasty = _served(folder / f"hasty-{devices}", devices, rounds, gathers=False)
            bare = _bare_rate(folder / f"bare-{devices}.db", devices, rounds)
            yield _rate_figure(devices, gathered, bare)
            yield _rate_figure(devices, hasty, bare, note=", never waiting")
            ours, theirs = gathered.syncs / gathered.results, hasty.syncs / hasty.results
            yield Figure(
                name=f"syncs a result, {devices} devices, against never waiting",
                ours=f"{ours:.3f}",
                bare=f"{theirs:.3f}",
                ratio=ours / theirs,
            )


def _served(data_dir: Path, devices: int, rounds: int, *, gathers: bool) -> Served:
    return asyncio.run(serve(data_dir, devices=devices, rounds=rounds, gathers=gathers))


def _rate_figure(devices: int, served: Served, bare: float, *, note: str = "") -> Figure:
    rate = served.results / served.seconds
    return Figure(
        name=f"results/s on a card with {CARD_SYNC_S * 1000:.0f} ms a sync, {devices} devices{note}",
        ours=f"{rate:.0f}/s",
        bare=f"{bare:.0f}/s",
        ratio=rate / bare,
    )


def _bare_rate(path: Path, group: int, rounds: int) -> float:
    """Return rows a second of plain SQL, ``group`` rows a commit, with the same wait after each."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY, key TEXT UNIQUE, result TEXT)")
    began_s = time.monotonic()
    for n in range(rounds):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO rows VALUES (NULL, ?, 'x')", [(f"{n}-{m}",) for m in range(group)])
        connection.execute("COMMIT")
        time.sleep(CARD_SYNC_S)
    connection.close()
    return group * rounds / (time.monotonic() - began_s)
