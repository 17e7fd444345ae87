"""What the outbox file says, read from outside with statements of our own: nothing here trusts the gateway's counters.

Each function reads in one transaction, so that a gateway may run meanwhile.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

# Whose bytes may repeat: summaries, word of devices that come and go.
_OF_DEVICES = "transport <> 'gateway'"
_TOTALS = ("evicted", "expired", "filtered", "summarised")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An event that the file knows, if only by its remembered id."""

    sequence: int
    device_id: str
    kind: str
    payload_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The ledger in the file, and the same counted row by row. ``gone``: unsent, by reason."""

    sequence_high: int
    pending: int
    dead: int
    delivered_total: int
    gone: Counter[str]
    tombstones_pending: int
    problem: str = ""


def stored(data_dir: Path) -> tuple[Counter[str], list[int]]:
    """Return how often each payload of a device is in the file, and all sequences in order."""
    with _opened(data_dir) as file:
        rows = file.execute(f"SELECT sequence, payload_sha256, {_OF_DEVICES} FROM events ORDER BY sequence").fetchall()
    return Counter(payload for _, payload, is_theirs in rows if is_theirs), [sequence for sequence, *_ in rows]


def kept(data_dir: Path) -> dict[int, str]:
    """Return every key that the file knows, of events and remembered ids, with its payload."""
    with _opened(data_dir) as file:
        rows = file.execute(
            "SELECT sequence, payload_sha256 FROM events UNION ALL SELECT sequence, payload_sha256 FROM remembered_ids"
        )
        return dict(rows.fetchall())


def kept_of_devices(data_dir: Path) -> list[Kept]:
    """Return all that devices sent, in order. Assumes that nothing of the gateway's own was pruned."""
    with _opened(data_dir) as file:
        columns = "sequence, device_id, kind, payload_sha256"
        rows = file.execute(
            f"SELECT {columns} FROM events WHERE {_OF_DEVICES} "
            f"UNION ALL SELECT {columns} FROM remembered_ids ORDER BY 1"
        ).fetchall()
    return [Kept(sequence=n, device_id=device, kind=kind, payload_sha256=payload) for n, device, kind, payload in rows]


def told_in_file(data_dir: Path) -> set[int]:
    """Return the sequences that tombstones in the file cover: those that the hub has not acknowledged."""
    with _opened(data_dir) as file:
        ranges = file.execute("SELECT first_sequence, last_sequence FROM tombstones").fetchall()
    return {number for first, last in ranges for number in range(first, last + 1)}


def told(data_dir: Path, sequences: Set[int]) -> dict[int, str]:
    """Return which of these the file knows, with their payloads."""
    return {sequence: payload for sequence, payload in kept(data_dir).items() if sequence in sequences}


def books(data_dir: Path) -> Books:
    """Return the ledger, and what is wrong with it."""
    with _opened(data_dir) as file:
        file.row_factory = sqlite3.Row
        ledger = dict(file.execute("SELECT * FROM ledger").fetchone())
        rows = Counter(dict(file.execute("SELECT state, COUNT(*) FROM events GROUP BY state").fetchall()))
        (remembered,) = file.execute("SELECT COUNT(*) FROM remembered_ids").fetchone()
        (tombstones,) = file.execute("SELECT COUNT(*) FROM tombstones").fetchone()
        (highest,) = file.execute(
            "SELECT MAX(n) FROM (SELECT MAX(sequence) n FROM events UNION ALL SELECT MAX(sequence) FROM remembered_ids)"
        ).fetchone()
    counted = {
        "sequence_high": highest or 0,
        "pending": rows["pending"],
        "delivered": rows["delivered"],
        "held_back": rows["filtered"] + rows["summarised"],
        "dead": rows["dead"],
        "remembered": remembered,
        "tombstones_pending": tombstones,
    }
    gone = Counter({reason: ledger[f"{reason}_total"] for reason in _TOTALS})
    return Books(
        sequence_high=ledger["sequence_high"],
        pending=ledger["pending"],
        dead=ledger["dead"],
        delivered_total=ledger["delivered_total"],
        gone=gone,
        tombstones_pending=ledger["tombstones_pending"],
        problem=books_problem(ledger, counted),
    )


def books_problem(ledger: dict[str, int], counted: dict[str, int]) -> str:
    """Return what is wrong with a ledger beside what was counted; empty if nothing is."""
    if wrong := [name for name, count in counted.items() if ledger[name] != count]:
        return f"the ledger says {wrong[0]} {ledger[wrong[0]]}, counted are {counted[wrong[0]]}"
    parts = ledger["pending"] + ledger["dead"] + ledger["delivered_total"]
    parts += sum(ledger[f"{reason}_total"] for reason in _TOTALS)
    if parts != ledger["sequence_high"]:
        return f"{ledger['sequence_high']} were accepted, the parts are {parts}"
    return ""


@contextmanager
def _opened(data_dir: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{data_dir / 'outbox.db'}?mode=ro", uri=True)) as connection:
        connection.execute("BEGIN")
        yield connection
