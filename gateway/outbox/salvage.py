"""Takes out of files that were set aside what is whole: events and ids, newest first, in bounded steps.

Each step is a request to the writer and says in the same transaction how far it came, so a crash repeats nothing and
skips nothing. Events keep their keys, so they go out under their own epoch and sequence. What lay on pages that can't
be read becomes holes; at the end, what of them was found nowhere is told by tombstones: ``damaged`` says that the site
has it no more, not whether the cloud had got it before.

Limits: a step is STEP_ROWS rows or STEP_PAGES pages. Until the events are through, a redelivery of one that is not is a
new event; the newest come first.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import structlog

from gateway.messages import EventState
from gateway.outbox.damaged_file import KEY_MAX, DamagedFile, Hole, SaneRow
from gateway.outbox.epochs import SequenceRange
from gateway.outbox.layouts import Layout
from gateway.outbox.schema import Migration
from gateway.outbox.tombstones import bury
from gateway.outbox.transaction import Transaction

log = structlog.get_logger(__name__)

EVENTS = "events"
IDS = "remembered_ids"
DELIVERIES = "deliveries"
LOST_PAGES = "lost pages"
TOMBSTONES = "tombstones"
DONE = "done"
STAGES = (EVENTS, IDS, DELIVERIES, LOST_PAGES, TOMBSTONES)
DAMAGED = "damaged"
# As many as a pruning step: about 10 ms on a fast disk.
STEP_ROWS = 200
# Of a scan for lost pages: half a megabyte of reading.
STEP_PAGES = 128
# In a salvage's place of a position, once it is read: its tombstones are not known.
_TELL_AGAIN = 1
_TELLING = (TOMBSTONES, _TELL_AGAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class SalvageState:
    """How far the work on one file has come."""

    file: str
    epoch: str
    why: str
    stage: str
    position: int | None
    rows: int
    damaged: int


def load_salvages(connection: sqlite3.Connection) -> tuple[SalvageState, ...]:
    """Return every file that was set aside, oldest first. Raises sqlite3.Error."""
    rows = connection.execute(
        "SELECT file, epoch, why, stage, position, rows, damaged FROM salvages ORDER BY rowid"
    ).fetchall()
    names = ("file", "epoch", "why", "stage", "position", "rows", "damaged")
    return tuple(SalvageState(**dict(zip(names, row, strict=True))) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveRows:
    """Put rows of a damaged file into this one, and note the holes between them."""

    failpoint: ClassVar[str] = "salvage"
    takes_space: ClassVar[bool] = True
    file: str
    stage: str
    position: int | None
    layout: Layout | None = None
    rows: tuple[SaneRow, ...] = ()
    holes: tuple[Hole, ...] = ()
    only_into_holes: bool = False

    def apply(self, transaction: Transaction) -> int:
        """Return how many rows were not there before."""
        connection = transaction.connection
        transaction.salvaged = True
        for hole in self.holes:
            _note_hole(connection, hole)
        saved = sum(self._save(transaction, row) for row in self.rows)
        connection.execute(
            "UPDATE salvages SET stage = ?, position = ?, rows = rows + ? WHERE file = ?",
            (self.stage, self.position, saved, self.file),
        )
        return saved

    @property
    def table(self) -> str:
        return "" if self.layout is None else self.layout.table

    def _save(self, transaction: Transaction, row: SaneRow) -> bool:
        assert self.layout is not None
        values = dict(zip(self.layout.names, row, strict=True))
        key = values.get("sequence")
        if isinstance(key, int) and not self._may_save(transaction, key):
            return False
        if transaction.connection.execute(self.layout.insert, row).rowcount < 1:
            return False
        self._count(transaction, values.get("state"))
        return True

    def _may_save(self, transaction: Transaction, key: int) -> bool:
        """Return whether the row is of a former epoch, nowhere yet, and missing, where only what is missing counts."""
        connection = transaction.connection
        if not 1 <= key <= transaction.epochs.current.base or _known_keys(connection, key, key, limit=1):
            return False
        if not self.only_into_holes or self.table != EVENTS:
            return True
        below = connection.execute(
            "SELECT last_key FROM salvage_holes WHERE first_key <= ? ORDER BY first_key DESC LIMIT 1", (key,)
        ).fetchone()
        return below is not None and below[0] >= key

    def _count(self, transaction: Transaction, state: object) -> None:
        ledger = transaction.ledger
        if self.table == IDS:
            ledger.remembered += 1
        elif self.table == EVENTS and state in {EventState.PENDING, EventState.DEAD}:
            ledger.taken_over += 1
            ledger.pending += state == EventState.PENDING
            ledger.dead += state == EventState.DEAD
            transaction.work_added = True
        elif self.table == EVENTS:
            ledger.delivered += state == EventState.DELIVERED
            ledger.held_back += state != EventState.DELIVERED


@dataclass(frozen=True, slots=True, kw_only=True)
class BuryHoles:
    """Tell by tombstones what of the lowest hole was found nowhere; a step at a time."""

    failpoint: ClassVar[str] = "salvage"
    takes_space: ClassVar[bool] = True

    def apply(self, transaction: Transaction) -> bool:
        """Return False when no hole is left: then the work on every file is done."""
        connection = transaction.connection
        transaction.salvaged = True
        hole = connection.execute("SELECT first_key, last_key FROM salvage_holes ORDER BY first_key LIMIT 1").fetchone()
        if hole is None:
            _finish(transaction)
            return False
        first, last = hole[0], min(hole[1], _last_former_key(transaction))
        tells_again = connection.execute("SELECT 1 FROM salvages WHERE stage = ? AND position = ?", _TELLING).fetchone()
        keys = _pending_keys if tells_again else _known_keys
        known = keys(connection, first, last, limit=STEP_ROWS)
        end = known[-1] if len(known) == STEP_ROWS else last
        gone = sum(_bury(transaction, a, b) for a, b in _gaps(first, end, [(key, key) for key in known]))
        connection.execute("UPDATE salvages SET damaged = damaged + ? WHERE stage = ?", (gone, TOMBSTONES))
        connection.execute("DELETE FROM salvage_holes WHERE first_key = ?", (first,))
        if end < last:
            _note_hole(connection, Hole(end + 1, last))
        return True


def _note_hole(connection: sqlite3.Connection, hole: Hole) -> None:
    connection.execute(
        "INSERT INTO salvage_holes (first_key, last_key) VALUES (?, ?) "
        "ON CONFLICT (first_key) DO UPDATE SET last_key = MAX(last_key, excluded.last_key)",
        (hole.first, hole.last),
    )


def _known_keys(connection: sqlite3.Connection, first: int, last: int, *, limit: int) -> list[int]:
    """Return keys between two, in order, that an event or a remembered id has."""
    rows = connection.execute(
        "SELECT sequence FROM events WHERE sequence BETWEEN ?1 AND ?2 "
        "UNION SELECT sequence FROM remembered_ids WHERE sequence BETWEEN ?1 AND ?2 ORDER BY 1 LIMIT ?3",
        (first, last, limit),
    )
    return [key for (key,) in rows]


def _pending_keys(connection: sqlite3.Connection, first: int, last: int, *, limit: int) -> list[int]:
    """Return keys between two, in order, that will still be sent."""
    rows = connection.execute(
        "SELECT sequence FROM events WHERE state = 'pending' AND +sequence BETWEEN ? AND ? ORDER BY +sequence LIMIT ?",
        (first, last, limit),
    )
    return [key for (key,) in rows]


def _last_former_key(transaction: Transaction) -> int:
    """Return the highest key that a former epoch is known to have given."""
    epochs = transaction.epochs.all
    if len(epochs) < 2:
        return 0
    last, current = epochs[-2], epochs[-1]
    known = last.base + (current.predecessor_last_sequence or 0)
    found = transaction.connection.execute(
        "SELECT (SELECT MAX(sequence) FROM events WHERE sequence <= ?1), "
        "(SELECT MAX(sequence) FROM remembered_ids WHERE sequence <= ?1)",
        (current.base,),
    ).fetchone()
    return max(known, *(key or 0 for key in found))


def _gaps(first: int, last: int, covered: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield what of ``first``..``last`` the ranges in ``covered``, in order, leave out."""
    for a, b in covered:
        if first < a:
            yield first, min(a - 1, last)
        first = max(first, b + 1)
    if first <= last:
        yield first, last


def _bury(transaction: Transaction, first_key: int, last_key: int) -> int:
    """Tell what no tombstone tells yet; return how many keys."""
    buried = 0
    known = {former.epoch.epoch: former.sequence_high for former in transaction.epochs.former[:-1]}
    for gone in transaction.epochs.ranges(first_key, last_key):
        # Between the last that an epoch gave and the base of the next there may be keys that nobody ever had.
        end = min(gone.last, known.get(gone.epoch, gone.last))
        for first, last in _gaps(gone.first, end, _told(transaction, gone)):
            bury(transaction, gone.base + first, gone.base + last, DAMAGED, labels={})
            buried += last - first + 1
    return buried


def _told(transaction: Transaction, gone: SequenceRange) -> list[tuple[int, int]]:
    bounds = {"epoch": gone.epoch, "first_sequence": gone.first, "last_sequence": gone.last}
    rows = transaction.connection.execute(transaction.queries.select_overlapping_tombstones, bounds)
    return sorted((row[2], row[3]) for row in rows)


def _finish(transaction: Transaction) -> None:
    """Note that all is done, and what is the last sequence known of the epoch before, where that was not known."""
    connection, current = transaction.connection, transaction.epochs.current
    connection.execute("UPDATE salvages SET stage = ?, position = NULL WHERE stage = ?", (DONE, TOMBSTONES))
    former = [epoch for epoch in transaction.epochs.all if epoch.epoch == current.predecessor]
    if former and current.predecessor_last_sequence is None:
        last = _last_former_key(transaction) - former[0].base
        if last > 0:
            update = "UPDATE epochs SET predecessor_last_sequence = ? WHERE epoch = ?"
            connection.execute(update, (last, current.epoch))


@dataclass(slots=True)
class Salvage:
    """The work that is left on the files that were set aside. Reads them; what it yields is for the writer."""

    data_dir: Path
    migrations: Sequence[Migration]
    states: tuple[SalvageState, ...]

    @property
    def is_done(self) -> bool:
        return all(state.stage == DONE for state in self.states)

    def requests(self) -> Iterator[SaveRows | BuryHoles]:
        """Yield one step after the other; a BuryHoles is to be repeated while it returns True. Blocks on the disk."""
        unfinished = [state for state in self.states if state.stage not in {TOMBSTONES, DONE}]
        for state in reversed(unfinished):  # the newest file first
            yield from _steps(self.data_dir, state, self.migrations)
        if not self.is_done:
            yield BuryHoles()


def _steps(data_dir: Path, state: SalvageState, migrations: Sequence[Migration]) -> Iterator[SaveRows]:
    """Yield the steps of one file from where it stands."""
    step = SaveRows(file=state.file, stage=state.stage, position=None)
    began = STAGES.index(state.stage)
    with closing(DamagedFile(data_dir / state.file, migrations)) as file:
        is_torn = began > 0 or state.position is not None  # what an earlier process met is not known any more
        for table in (EVENTS, IDS):
            if began <= STAGES.index(table):
                below = state.position if state.stage == table else None
                for found in _table_steps(file, step, table, below=KEY_MAX + 1 if below is None else below):
                    is_torn = is_torn or any(hole.last > hole.first for hole in found.holes)
                    yield found if table == EVENTS else replace(found, holes=())
        if began <= STAGES.index(DELIVERIES):
            yield from _delivery_steps(file, step)
        if is_torn:
            first = state.position or 1 if state.stage == LOST_PAGES else 1
            yield from _lost_page_steps(file, step, first)
        if file.is_whole("tombstones"):
            yield replace(step, stage=TOMBSTONES)
        else:  # what they told is not known any more, so all that will not come is told again
            yield replace(step, stage=TOMBSTONES, position=_TELL_AGAIN, holes=(Hole(1, KEY_MAX),))


def _table_steps(file: DamagedFile, step: SaveRows, table: str, *, below: int) -> Iterator[SaveRows]:
    if table not in file.layouts:
        return
    step = replace(step, stage=table, layout=file.layouts[table])
    rows: list[SaneRow] = []
    holes: list[Hole] = []
    for leaf in file.leaves(table, below=below):
        rows += leaf.rows
        holes += leaf.holes
        if len(rows) + len(holes) >= STEP_ROWS:
            yield replace(step, position=leaf.first, rows=tuple(rows), holes=tuple(holes))
            rows, holes = [], []
    yield replace(step, position=1, rows=tuple(rows), holes=tuple(holes))


def _delivery_steps(file: DamagedFile, step: SaveRows) -> Iterator[SaveRows]:
    if DELIVERIES not in file.layouts:
        return
    step = replace(step, stage=DELIVERIES, layout=file.layouts[DELIVERIES])
    rows: list[SaneRow] = []
    for row in file.rows(DELIVERIES):
        rows.append(row)
        if len(rows) >= STEP_ROWS:
            yield replace(step, rows=tuple(rows))
            rows = []
    yield replace(step, rows=tuple(rows))


def _lost_page_steps(file: DamagedFile, step: SaveRows, first: int) -> Iterator[SaveRows]:
    """Yield what is on pages that the trees may not lead to any more."""
    for begin in range(first, file.source.page_count + 1, STEP_PAGES):
        end = min(begin + STEP_PAGES, file.source.page_count + 1)
        for table in (EVENTS, IDS):
            rows = tuple(row for number in range(begin, end) for row in file.lost_rows(table, number))
            yield replace(
                step,
                stage=LOST_PAGES,
                position=begin,
                layout=file.layouts[table],
                rows=rows,
                only_into_holes=True,
            )
