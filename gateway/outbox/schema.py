"""Which schema a file has, and how an older one becomes ours.

``application_id`` says that a file is an outbox, ``user_version`` how many of
``migrations/NNNN_*.sql`` it has seen. Migrations are append-only; all that are
missing are applied in one transaction.
"""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from gateway.errors import OutboxUnusable

APPLICATION_ID = 0x47574F42  # "GWOB", gateway outbox
_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema. ``number`` counts from 1 without gaps."""

    number: int
    sql: str


def load_migrations() -> tuple[Migration, ...]:
    """Return the migrations that this version ships, in order."""
    found = []
    for entry in (files("gateway.outbox") / "migrations").iterdir():
        name = _FILE_NAME.fullmatch(entry.name)
        if name:
            found.append(Migration(number=int(name[1]), sql=entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.number)
    assert [m.number for m in found] == list(range(1, len(found) + 1)), "a migration's number is missing or doubled"
    return tuple(found)


def check_version(connection: sqlite3.Connection, known: int) -> int:
    """Return the file's version. Raises OutboxUnusable for one that is not ours or newer than ``known``."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise OutboxUnusable(
            "it is an SQLite database, but not an outbox: move it away or set another gateway.data_dir"
        )
    if version > known:
        raise OutboxUnusable(
            f"it was written by a newer version of the gateway (schema {version}, this one knows {known}): "
            "install that version again, or move the file away to start a new one"
        )
    return int(version)


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Apply what the file has not seen, all in one transaction: on any error nothing of it stays."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    missing = [m for m in migrations if m.number > version]
    if not missing:
        return
    script = "\n".join(m.sql for m in missing)
    try:
        # executescript would commit a transaction begun outside it, so the script brings its own.
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{script}\n"
            f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {missing[-1].number};\nCOMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
