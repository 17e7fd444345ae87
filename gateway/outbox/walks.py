"""How to read a table without rowids, or an index, from end to end in short statements. Told by the schema itself.

A walk goes by its key: each slice begins behind the last row of the one before, so rows that come and go meanwhile
do no harm. An index is read alone (its columns cover the statement), so each of its pages is visited.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from gateway.outbox.pages import Value
from gateway.outbox.schema import Migration

_PARTIAL = re.compile(r"\)\s*WHERE\s+(.*)$", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """One of them. ``table`` is set for a table: its rows come whole, in the order of its layout; else it is an index.

    ``key_columns``: how many values at the begin of a row say where the next slice begins. ``asked_for_by_rows``: each
    row of its table is looked up in this index anyway, so its first slice is enough (it is all of an empty one).
    """

    name: str
    table: str | None
    key_columns: int
    asked_for_by_rows: bool
    _head: str
    _condition: str
    _key: str

    def sql(self, rows: int, *, is_first: bool) -> str:
        """Return the statement of a slice; all but the first take the key of the row before as parameters."""
        marks = ", ".join("?" * self.key_columns)
        conditions = [self._condition, "" if is_first else f"({self._key}) > ({marks})"]
        where = " AND ".join(f"({condition})" for condition in conditions if condition)
        return f"{self._head}{f' WHERE {where}' if where else ''} ORDER BY {self._key} LIMIT {rows}"

    def key(self, row: Sequence[Value]) -> tuple[Value, ...]:
        """Return the parameters of the slice after ``row``."""
        return tuple(row[: self.key_columns])


def walks(migrations: Sequence[Migration], *, asked_for_by_rows: frozenset[str]) -> tuple[Walk, ...]:
    """Return the walks of all tables without rowids and of all indexes."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript("\n".join(m.sql for m in migrations))
        tables = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
        found = [walk for name, sql in tables for walk in _walks_of(connection, name, sql)]
    return tuple(replace(walk, asked_for_by_rows=walk.name in asked_for_by_rows) for walk in found)


def _walks_of(connection: sqlite3.Connection, table: str, sql: str) -> Iterator[Walk]:
    described = connection.execute(f"PRAGMA table_info({table})").fetchall()
    primary = [name for _, name, _, _, _, place in sorted(described, key=lambda column: column[5]) if place]
    has_rowids = "WITHOUT ROWID" not in sql.upper()
    if not has_rowids:
        others = [column[1] for column in described if not column[5]]
        names = ", ".join([*primary, *others])
        head = f"SELECT {names} FROM {table}"  # noqa: S608  names are out of our own migrations
        yield Walk(
            name=table,
            table=table,
            key_columns=len(primary),
            asked_for_by_rows=False,
            _head=head,
            _condition="",
            _key=", ".join(primary),
        )
    for _, index, _, origin, _ in connection.execute(f"PRAGMA index_list({table})").fetchall():
        if origin == "pk" and not has_rowids:
            continue  # the table itself
        yield _index(connection, table, index, ["rowid"] if has_rowids else primary)


def _index(connection: sqlite3.Connection, table: str, index: str, row_key: Sequence[str]) -> Walk:
    columns = [name for _, _, name in connection.execute(f"PRAGMA index_info({index})").fetchall()]
    columns += [name for name in row_key if name not in columns]
    (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (index,)).fetchone()
    partial = _PARTIAL.search(sql or "")
    key = ", ".join(columns)
    return Walk(
        name=index,
        table=None,
        key_columns=len(columns),
        asked_for_by_rows=False,
        _head=f"SELECT {key} FROM {table} INDEXED BY {index}",  # noqa: S608  names are out of our own migrations
        _condition=partial[1] if partial else "",
        _key=key,
    )
