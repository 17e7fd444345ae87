"""What rows of each table look like on a page, for every version of the schema: told by SQLite from the migrations.

A row is believed only if it has the shape of its table, since a page may hold anything.
"""

import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from gateway.messages import EventState, Kind, Transport
from gateway.outbox.pages import Value
from gateway.outbox.schema import Migration

_SHA256 = re.compile(r"[0-9a-f]{2,64}")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "TEXT": (str,),
    "INTEGER": (int,),
    "REAL": (float, int),
    "BLOB": (bytes, str),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. ``default``: what a row has that was written before the column was added."""

    name: str
    type: str
    required: bool
    default: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A table. ``columns`` are in the order of a record; ``key`` is the place of the rowid's column, or None."""

    table: str
    columns: tuple[Column, ...]
    key: int | None
    has_rowids: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def insert(self) -> str:
        """Return the statement that puts a row in where its key is free. Names are out of our own migrations."""
        marks = ", ".join("?" * len(self.columns))
        return f"INSERT OR IGNORE INTO {self.table} ({', '.join(self.names)}) VALUES ({marks})"  # noqa: S608

    @property
    def select(self) -> str:
        """Return the statement that reads whole rows, after their rowids; without a WHERE."""
        return f"SELECT rowid, {', '.join(self.names)} FROM {self.table}"  # noqa: S608

    def row(self, rowid: int, values: Sequence[Value]) -> tuple[Value, ...] | None:
        """Return a record as a row, or None if it can't be one of this table."""
        if len(values) > len(self.columns):
            return None
        row = [*values, *(column.default for column in self.columns[len(values) :])]
        if self.key is not None:
            if row[self.key] is not None:
                return None  # the rowid is not in the record
            row[self.key] = rowid
        return tuple(row) if self.makes_sense(row) else None

    def makes_sense(self, row: Sequence[Value]) -> bool:
        """Return whether values, one for each column, can be a row of this table."""
        if not all(_fits(column, value) for column, value in zip(self.columns, row, strict=True)):
            return False
        rule = _RULES.get(self.table)
        return rule is None or rule(dict(zip(self.names, row, strict=True)))


def layouts(migrations: Sequence[Migration], version: int) -> Mapping[str, Layout]:
    """Return the tables of a version, by name."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript("\n".join(m.sql for m in migrations[:version]))
        tables = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        return {name: _layout(connection, name, sql) for name, sql in tables}


def _layout(connection: sqlite3.Connection, table: str, sql: str) -> Layout:
    described = connection.execute(f"PRAGMA table_info({table})").fetchall()
    has_rowids = "WITHOUT ROWID" not in sql.upper()
    if not has_rowids:  # such a record begins with the primary key
        described.sort(key=lambda column: (column[5] == 0, column[5], column[0]))
    key = next((n for n, c in enumerate(described) if has_rowids and c[5] and c[2].upper() == "INTEGER"), None)
    columns = tuple(
        Column(name=name, type=type_.upper(), required=bool(required), default=_default(connection, default))
        for _, name, type_, required, default, _ in described
    )
    return Layout(table=table, columns=columns, key=key, has_rowids=has_rowids)


def _default(connection: sqlite3.Connection, sql: str | None) -> Value:
    if sql is None:
        return None
    (value,) = connection.execute(f"SELECT {sql}").fetchone()
    return value  # type: ignore[no-any-return]


def _fits(column: Column, value: Value) -> bool:
    if value is None:
        return not column.required
    return isinstance(value, _TYPES.get(column.type, (object,)))


def _is_event(row: Mapping[str, Value]) -> bool:
    return row["state"] in set(EventState) and row["transport"] in set(Transport) and _is_result(row)


def _is_result(row: Mapping[str, Value]) -> bool:
    """Return whether what events and remembered ids share makes sense."""
    try:
        datetime.fromisoformat(str(row["received_at"]))
        json.loads(str(row["result"]))
    except ValueError:
        return False
    return row["kind"] in set(Kind) and _SHA256.fullmatch(str(row["payload_sha256"])) is not None


_RULES: Mapping[str, Callable[[Mapping[str, Value]], bool]] = {"events": _is_event, "remembered_ids": _is_result}
