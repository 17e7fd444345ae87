"""A look at a file when it is opened: schema, newest rows, ledger. Milliseconds, however large the file is.

What was written last is what a dying card or a cut hits first; the rest is read later (gateway/outbox/integrity.py).
"""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache

from gateway.errors import OutboxDamaged
from gateway.outbox.layouts import Layout, layouts
from gateway.outbox.rows import Row
from gateway.outbox.schema import Migration

NEWEST_ROWS = 100
# Tables that are read by their rowids.
CHECKED_TABLES = ("events", "remembered_ids", "tombstones", "commands", "refusals")


def look_over(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Look at schema and newest rows. Raises OutboxDamaged, or sqlite3.Error. Quick, however large the file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    missing = _objects(tuple(migrations[:version])) - _found_objects(connection)
    if missing:
        raise OutboxDamaged(f"its schema lacks {', '.join(sorted(missing))}")
    known = layouts(migrations, version)
    for table in CHECKED_TABLES:
        newest = connection.execute(f"{known[table].select} ORDER BY rowid DESC LIMIT {NEWEST_ROWS}").fetchall()
        require_sense(known[table], newest)
    if version >= 5:  # since then one row tells what was given
        high, newest_key = connection.execute(
            "SELECT (SELECT sequence_high FROM ledger), (SELECT MAX(sequence) FROM events)"
        ).fetchone()
        if high is None or (newest_key or 0) > high:
            raise OutboxDamaged(f"its ledger ends at {high}, its events at {newest_key}")


@lru_cache(maxsize=2)
def _objects(migrations: tuple[Migration, ...]) -> frozenset[str]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript("\n".join(m.sql for m in migrations))
        return _found_objects(connection)
    finally:
        connection.close()


def _found_objects(connection: sqlite3.Connection) -> frozenset[str]:
    rows = connection.execute("SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")
    return frozenset(name for (name,) in rows)


def require_sense(layout: Layout, rows: Sequence[Row]) -> None:
    """Raise OutboxDamaged for a row (after its rowid) that can't be one of its table."""
    for rowid, *values in rows:
        if not layout.makes_sense(values):
            raise OutboxDamaged(f"row {rowid} of {layout.table} makes no sense")
