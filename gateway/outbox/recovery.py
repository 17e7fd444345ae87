"""A damaged file is set aside whole, and a new one begins in its place, with a new epoch, within moments.

Only what is small is taken over here (epochs, starts of the machine, tombstones, commands, what is known of crashes);
events and ids follow in bounded steps (gateway/outbox/salvage.py). Every step can be done again: a crash at any moment
leaves the note (gateway/outbox/damage.py), and the next start goes on with it. A file of a newer version, or of
somebody else's, is never touched.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import structlog
import uuid6

from gateway.errors import OutboxUnusable
from gateway.messages import Epoch
from gateway.outbox.connection import create_database, insert_epoch
from gateway.outbox.damage import DamageNote, read_epochs, remove_note, write_note
from gateway.outbox.damaged_file import DamagedFile
from gateway.outbox.epochs import EpochBook
from gateway.outbox.files import DATABASE_NAME, sync_directory
from gateway.outbox.pages import PAGE_BYTES, file_header
from gateway.outbox.queries import Queries
from gateway.outbox.rows import time_text
from gateway.outbox.salvage import EVENTS
from gateway.outbox.schema import APPLICATION_ID, Migration

log = structlog.get_logger(__name__)

# What is read in steps later, or told anew.
_NOT_COPIED = frozenset({"events", "remembered_ids", "deliveries", "epochs", "ledger"})
# Where the file can't tell how far it had come: no outbox has so many events on pages that can't be read.
UNKNOWN_KEYS = 1_000_000_000
# An outbox shows itself in its first pages; a foreign file is not searched from end to end.
_PAGES_SEARCHED = 256


def recover(
    data_dir: Path, note: DamageNote, *, migrations: Sequence[Migration], queries: Queries, now: datetime
) -> None:
    """Return when a new file is in place and the damaged one beside it, both on disk.

    The caller holds the lock. Raises OutboxUnusable for a file that must not be touched, OSError or sqlite3.Error for
    a disk that does not take it; then it is done at the next start.
    """
    path = data_dir / DATABASE_NAME
    if note.aside is None:
        refuse_newer(path, known=len(migrations))
        note = _named(data_dir, note, now)
        write_note(data_dir, note)
    assert note.aside is not None
    aside = data_dir / note.aside
    set_aside(path, aside)
    if not path.exists():
        _begin_anew(data_dir, note, aside, migrations=migrations, queries=queries, now=now)
    remove_note(data_dir)


def refuse_newer(path: Path, *, known: int) -> None:
    """Raise OutboxUnusable for a file of a newer version: it is never touched."""
    try:
        with path.open("rb") as file:
            first = file.read(PAGE_BYTES)
    except FileNotFoundError:
        return
    header = file_header(first)
    if header is not None and header.application_id == APPLICATION_ID and header.user_version > known:
        raise OutboxUnusable(
            f"{path} was written by a newer version of the gateway (schema {header.user_version}, this one knows "
            f"{known}), and is damaged: install that version again, it recovers the file"
        )


def was_an_outbox(path: Path, migrations: Sequence[Migration]) -> bool:
    """Return whether a file without a header was one: its neighbour or its pages say so."""
    if read_epochs(path.parent):
        return True
    with contextlib.closing(DamagedFile(path, migrations)) as file:
        if set(file.roots) & set(file.layouts):
            return True
        pages = range(2, min(file.source.page_count, _PAGES_SEARCHED) + 1)
        return any(file.lost_rows(table, number) for number in pages for table in (EVENTS, "remembered_ids"))


def set_aside(path: Path, aside: Path) -> None:
    """Give a file and its WAL another name, and return when that is on disk. What is done already stays done."""
    if aside.exists():
        return
    wal, shared = Path(f"{path}-wal"), Path(f"{path}-shm")
    if wal.exists():
        wal.rename(f"{aside}-wal")
    shared.unlink(missing_ok=True)  # an index of the WAL, made anew by whoever opens it
    if path.exists():
        path.rename(aside)
    else:  # an orphaned WAL; the name says that everything was moved
        os.close(os.open(aside, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    sync_directory(path.parent)


def _named(data_dir: Path, note: DamageNote, now: datetime) -> DamageNote:
    stem = f"outbox.damaged-{now:%Y%m%dT%H%M%SZ}"
    names = [f"{stem}.db", *(f"{stem}-{n}.db" for n in range(2, 1000))]
    free = next(name for name in names if not any((data_dir / f"{name}{end}").exists() for end in ("", "-wal")))
    return DamageNote(why=note.why, epochs=note.epochs, key_high=note.key_high, aside=free)


def _begin_anew(
    data_dir: Path,
    note: DamageNote,
    aside: Path,
    *,
    migrations: Sequence[Migration],
    queries: Queries,
    now: datetime,
) -> None:
    with contextlib.closing(DamagedFile(aside, migrations)) as file:
        former = _former_epochs(data_dir, note, file)
        high, is_exact = _key_high(note, file)
        last = former[-1]
        base = max(high, last.base) if is_exact else max(high, last.base) + UNKNOWN_KEYS
        known = high - last.base if is_exact or high > last.base else None
        epoch = Epoch(epoch=str(uuid6.uuid7()), predecessor=last.epoch, predecessor_last_sequence=known, base=base)

        def fill(connection: sqlite3.Connection) -> None:
            _fill(connection, file, former=former, epoch=epoch, queries=queries, now=now)
            row = (aside.name, last.epoch, note.why, time_text(now), EVENTS)
            connection.execute("INSERT INTO salvages (file, epoch, why, began_at, stage) VALUES (?, ?, ?, ?, ?)", row)

        create_database(data_dir, migrations=migrations, queries=queries, epoch=epoch, now=now, fill=fill)
    log.error(
        "outbox_set_aside",
        why=note.why,
        file=str(aside),
        epoch=epoch.epoch,
        predecessor=last.epoch,
        predecessor_last_sequence=known,
    )


def _former_epochs(data_dir: Path, note: DamageNote, file: DamagedFile) -> tuple[Epoch, ...]:
    """Return the epochs up to now; one with an invented name where nobody knows it any more."""
    candidates = (note.epochs, tuple(_read_epochs(file)), read_epochs(data_dir))
    best = max(candidates, key=len)
    if best:
        return EpochBook(best).all
    return (Epoch(epoch=f"unknown-{uuid6.uuid7()}", predecessor=None, predecessor_last_sequence=None),)


def _read_epochs(file: DamagedFile) -> Iterator[Epoch]:
    names = file.layouts["epochs"].names
    for row in file.rows("epochs"):
        fields = dict(zip(names, row, strict=True))
        last, base = fields["predecessor_last_sequence"], fields.get("base", 0)
        assert isinstance(last, int | None)
        assert isinstance(base, int)
        predecessor = fields["predecessor"]
        yield Epoch(
            epoch=str(fields["epoch"]),
            predecessor=None if predecessor is None else str(predecessor),
            predecessor_last_sequence=last,
            base=base,
        )


def _key_high(note: DamageNote, file: DamagedFile) -> tuple[int, bool]:
    """Return the highest key known to have been given, and whether it is surely the highest."""
    told = [note.key_high, file.last_given(EVENTS)]
    told += [high for high in file.column("ledger", "sequence_high") if isinstance(high, int)]
    seen = 0
    for key in file.column(EVENTS, "sequence"):  # newest first
        assert isinstance(key, int)
        seen = key
        break
    known = [high for high in told if high is not None]
    return max([seen, *known]), bool(known)


def _fill(
    connection: sqlite3.Connection,
    file: DamagedFile,
    *,
    former: Sequence[Epoch],
    epoch: Epoch,
    queries: Queries,
    now: datetime,
) -> None:
    for known in former:
        insert_epoch(connection, queries, known, now)
    for table in file.layouts.keys() - _NOT_COPIED:
        connection.executemany(file.layouts[table].insert, file.rows(table))
    # Ids of tombstones are never given twice: an acknowledgement, or a bundle's, may still name one.
    given = file.last_given("tombstones")
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'tombstones'")
    high = "SELECT 'tombstones', MAX(?, (SELECT COALESCE(MAX(tombstone_id), 0) FROM tombstones))"
    connection.execute(f"INSERT INTO sqlite_sequence {high}", (UNKNOWN_KEYS if given is None else given,))
    connection.execute(
        "UPDATE ledger SET sequence_high = ?, refusals = (SELECT COUNT(*) FROM refusals), "
        "tombstones_pending = (SELECT COUNT(*) FROM tombstones)",
        (epoch.base,),
    )
