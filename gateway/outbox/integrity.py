"""Whether the whole file is sound: read through in slices while the gateway serves.

SQLite notices a bad page only when it comes by, and no bad bit within a text at all. So each slice reads whole rows,
holds them against the shape of their table (gateway/outbox/layouts.py) and asks the indexes for them. A slice is one
short statement of a reader: it neither waits for the writer nor delays it, and the WAL can be reset between two.

Then tables without rowids and the other indexes are read by their keys (gateway/outbox/walks.py), so that every page
that holds anything is visited.

Limits: free pages are not read. A row changed into another that makes sense is not noticed: SQLite keeps no checksums.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from gateway.errors import OutboxDamaged, Unavailable
from gateway.outbox.layouts import layouts
from gateway.outbox.look import require_sense
from gateway.outbox.pages import Value
from gateway.outbox.reader import Reader
from gateway.outbox.rows import Row
from gateway.outbox.schema import Migration
from gateway.outbox.walks import Walk, walks
from gateway.ports import Clock, Meter

log = structlog.get_logger(__name__)

# Rows of a slice, about 5 ms; a WAL that may not be reset meanwhile grows by a commit or two.
SLICE_ROWS = 200
# After each slice a rest of so many times what it took: a twentieth of one core, and of the disk.
REST_TIMES = 19
REST_S_MIN = 0.02
READ_RETRY_S = 30.0

_NOT_IN_INDEX = """
SELECT e.sequence FROM events AS e NOT INDEXED
WHERE e.sequence BETWEEN ? AND ? AND (
    NOT EXISTS (
        SELECT 1 FROM events AS i INDEXED BY events_by_submission
        WHERE i.device_id = e.device_id AND i.submission_id = e.submission_id AND i.sequence = e.sequence
    )
    OR e.state = 'pending' AND NOT EXISTS (
        SELECT 1 FROM events AS i INDEXED BY events_pending
        WHERE i.state = 'pending' AND i.priority = e.priority AND i.sequence = e.sequence
    )
) LIMIT 1
"""
_ID_NOT_IN_INDEX = """
SELECT e.sequence FROM remembered_ids AS e NOT INDEXED
WHERE e.sequence BETWEEN ? AND ? AND NOT EXISTS (
    SELECT 1 FROM remembered_ids AS i INDEXED BY remembered_ids_by_submission
    WHERE i.device_id = e.device_id AND i.submission_id = e.submission_id AND i.sequence = e.sequence
) LIMIT 1
"""
INDEX_CHECKS: Mapping[str, str] = {"events": _NOT_IN_INDEX, "remembered_ids": _ID_NOT_IN_INDEX}
# Indexes that these ask for each row: they need no walk of their own.
ASKED_FOR_BY_ROWS = frozenset({"events_by_submission", "events_pending", "remembered_ids_by_submission"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckState:
    """How far the check of the whole file is, and what came of the last one."""

    table: str | None = None  # or index, being read; None between two rounds
    rows: int = 0  # read in this round
    rounds: int = 0  # since this process started
    sound_at: datetime | None = None  # when the last round ended, by the wall clock: for people


class Checker:
    """Reads the file through, round after round. ``on_damage`` is told once of what it found."""

    def __init__(
        self,
        reader: Reader,
        *,
        migrations: Sequence[Migration],
        every_s: float,
        clock: Clock,
        meter: Meter,
        on_damage: Callable[[OutboxDamaged], None],
    ) -> None:
        self._reader = reader
        self._layouts = layouts(migrations, len(migrations))
        self._walks = walks(migrations, asked_for_by_rows=ASKED_FOR_BY_ROWS)
        self._every_s = every_s
        self._clock = clock
        self._meter = meter
        self._on_damage = on_damage
        self.state = CheckState()

    async def run(self) -> None:
        """Check for ever, a round each ``every_s``; the first begins at once. Returns where damage was found."""
        while self._every_s > 0:
            try:
                await self.round()
            except OutboxDamaged as damage:
                self._meter.count("gateway_outbox_checks_total", 1, outcome="damaged")
                self._on_damage(damage)
                return
            await asyncio.sleep(self._every_s)

    async def round(self) -> None:
        """Read everything once. Raises OutboxDamaged."""
        read = 0
        for table, layout in self._layouts.items():
            if layout.has_rowids:
                read += await self._read_table(table, read)
        for walk in self._walks:
            read += await self._read_walk(walk, read)
        self._meter.count("gateway_outbox_checks_total", 1, outcome="sound")
        self._show(CheckState(rows=read, rounds=self.state.rounds + 1, sound_at=self._clock.now()))
        log.info("outbox_checked", rows=read)

    async def _read_table(self, table: str, read_before: int) -> int:
        read, after, last = 0, 0, await self._last(table)
        while after < last:  # what comes in meanwhile is for the next round
            began_s = self._clock.monotonic()
            count, after = await self._slice(table, after)
            if not count:
                break
            read += count
            await self._rest(table, read_before + read, began_s)
        return read

    async def _read_walk(self, walk: Walk, read_before: int) -> int:
        """Return how many rows of a table were read; entries of an index are not counted again."""
        read, is_first = 0, True
        key: tuple[Value, ...] = ()
        while True:
            began_s = self._clock.monotonic()
            rows = await self._read(walk.sql(SLICE_ROWS, is_first=is_first), key)
            if walk.table is not None:
                require_sense(self._layouts[walk.table], [(row[0], *row) for row in rows])
                read += len(rows)
            await self._rest(walk.name, read_before + read, began_s)
            if len(rows) < SLICE_ROWS or walk.asked_for_by_rows:
                return read
            key, is_first = walk.key(rows[-1]), False

    async def _rest(self, what: str, read: int, began_s: float) -> None:
        self._show(CheckState(table=what, rows=read, rounds=self.state.rounds, sound_at=self.state.sound_at))
        await asyncio.sleep(max(REST_S_MIN, REST_TIMES * (self._clock.monotonic() - began_s)))

    async def _last(self, table: str) -> int:
        """Return the highest rowid of a table."""
        rows = await self._read(f"SELECT MAX(rowid) FROM {table}", ())  # noqa: S608  one of our own
        return rows[0][0] or 0

    async def _slice(self, table: str, after: int) -> tuple[int, int]:
        """Return how many rows were read, and the last."""
        layout = self._layouts[table]
        rows = await self._read(f"{layout.select} WHERE rowid > ? ORDER BY rowid LIMIT {SLICE_ROWS}", (after,))
        if not rows:
            return 0, after
        require_sense(layout, rows)
        if table in INDEX_CHECKS:
            lost = await self._read(INDEX_CHECKS[table], (rows[0][0], rows[-1][0]))
            if lost:
                raise OutboxDamaged(f"row {lost[0][0]} of {table} is missing in an index")
        return len(rows), rows[-1][0]

    async def _read(self, sql: str, parameters: tuple[Value, ...]) -> list[Row]:
        """Return the rows of a statement. A disk that can't be read now is asked again."""
        while True:
            try:
                return await self._reader.rows(sql, parameters, list)
            except Unavailable as error:
                log.info("outbox_check_waits", detail=error.detail)
            await asyncio.sleep(READ_RETRY_S)

    def _show(self, state: CheckState) -> None:
        self.state = state
        self._meter.level("gateway_outbox_check_rows", state.rows)
