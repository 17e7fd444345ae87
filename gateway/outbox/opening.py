"""From a data directory to an open Store: makes the file where there is none, recovers it where it is damaged."""

import errno
import sqlite3
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog
import uuid6

from gateway.errors import DiskNotReady, DiskUnavailable, OutboxDamaged, OutboxUnusable
from gateway.messages import Epoch
from gateway.outbox.ballast import Ballast
from gateway.outbox.connection import (
    NotADatabase,
    check_header,
    create_database,
    damaged,
    insert_epoch,
    is_disk_trouble,
    open_for_writing,
    unusable,
)
from gateway.outbox.damage import DamageNote, read_note, write_epochs
from gateway.outbox.files import DATABASE_NAME
from gateway.outbox.page_source import is_broken_inside
from gateway.outbox.queries import Queries, load_queries
from gateway.outbox.recovery import recover, was_an_outbox
from gateway.outbox.salvage import Salvage, SaveRows
from gateway.outbox.schema import Migration, load_migrations
from gateway.outbox.store import Store
from gateway.outbox.transaction import Caps
from gateway.ports import BootClock
from gateway.settings import OutboxSettings

log = structlog.get_logger(__name__)

# Room that new events may not take: marks, tombstones and pruning must go on when the file is full.
RESERVE_BYTES_MAX = 4 * 1024 * 1024
RESERVE_SHARE = 8
# What one pruning step may copy: a fraction of a second on an SD card.
PRUNE_BYTES_MAX = 512 * 1024
# Of the start of a gateway whose file was damaged; some ten thousand events on a fast disk.
SALVAGE_AT_ONCE_S = 2.0


def open_store(
    data_dir: Path, *, settings: OutboxSettings, clock: BootClock, predecessor: tuple[str, int] | None = None
) -> Store:
    """Return the store of ``data_dir``, whose lock the caller holds. Raises OutboxUnusable or DiskNotReady.

    A damaged file is set aside, and the store is that of a new one (gateway/outbox/recovery.py).
    """
    path = data_dir / DATABASE_NAME
    queries, migrations = load_queries(), load_migrations()
    again = partial(_recover, data_dir, migrations=migrations, queries=queries, now=clock.now())
    note = read_note(data_dir)
    if note is not None:
        again(note)
    elif not path.exists() and not _has_wal(path):
        _create(path, queries=queries, migrations=migrations, now=clock.now(), predecessor=predecessor)
    opened = partial(_open, path, settings=settings, clock=clock, queries=queries, migrations=migrations)
    try:
        return opened()
    except OutboxDamaged as error:
        log.error("outbox_damaged", error=str(error))
        again(DamageNote(why=error.why))
    return opened()


def salvage_at_once(store: Store, salvage: Salvage, *, clock: BootClock) -> None:
    """Take out of damaged files what can be taken within SALVAGE_AT_ONCE_S: of most sites, all; the rest goes on later.

    So a device that sends again what was acknowledged just before is recognised. Errors are left to what goes on later.
    """
    if salvage.is_done:
        return
    began_s = clock.monotonic()
    try:
        for step in salvage.requests():
            while True:
                (goes_on,) = store.transact([step]).outcomes
                if clock.monotonic() - began_s > SALVAGE_AT_ONCE_S:
                    return
                if not goes_on or isinstance(step, SaveRows):
                    break
    except DiskUnavailable as error:
        log.warning("outbox_salvage_waits", detail=error.detail)
    finally:
        salvage.states = store.salvages
        log.warning("outbox_salvage", **_figures(store))


def _figures(store: Store) -> dict[str, object]:
    state = store.salvages[-1]
    return {"file": state.file, "stage": state.stage, "rows": state.rows, "damaged": state.damaged}


def _open(
    path: Path, *, settings: OutboxSettings, clock: BootClock, queries: Queries, migrations: tuple[Migration, ...]
) -> Store:
    """Raise OutboxDamaged for what can be recovered, OutboxUnusable for what can't or must not be touched."""
    had_wal = _has_wal(path)
    if not path.exists():
        raise damaged(path, "it is gone, and its WAL is still there")
    try:
        check_header(path)
    except NotADatabase as error:
        if was_an_outbox(path, migrations):
            raise damaged(path, "its first page is overwritten") from error
        raise
    if is_broken_inside(Path(f"{path}-wal")):  # before SQLite sees it, which would cut it off there
        raise damaged(path, "its WAL is damaged before its end")
    connect = partial(open_for_writing, path, bytes_max=settings.bytes_max, migrations=migrations)
    begin = partial(_begin, path, queries=queries, had_wal=had_wal, now=clock.now())
    store = _with_ballast(
        Ballast(path.parent, settings.ballast_bytes),
        partial(Store, path, connect=connect, begin=begin, queries=queries, caps=_caps(settings), clock=clock),
    )
    try:
        write_epochs(path.parent, store.epochs)
    except (
        OSError
    ) as error:  # a courtesy to a day that may never come: a full disk must not keep a gateway from draining
        log.warning("outbox_epoch_not_noted", error=str(error))
    return store


def _with_ballast(ballast: Ballast, make: Callable[..., Store]) -> Store:
    """Return the store; on a full disk the ballast makes room for opening it."""
    ballast.keep()
    try:
        return make(ballast=ballast)
    except DiskNotReady:
        if not ballast.release():
            raise
        return make(ballast=ballast)


def _has_wal(path: Path) -> bool:
    wal = Path(f"{path}-wal")
    return wal.exists() and wal.stat().st_size > 0


def _begin(path: Path, connection: sqlite3.Connection, *, queries: Queries, had_wal: bool, now: datetime) -> None:
    """Note in the file that it is open. One that was, and whose WAL is gone, lost commits: it goes on in a new epoch.

    The note is in the file itself, not in the WAL alone, before the first commit. Raises sqlite3.Error.
    """
    (was_open,) = connection.execute(queries.select_is_open).fetchone()
    if was_open and had_wal:
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
        if was_open:
            epoch = _next_epoch(connection, queries, now)
            log.error("outbox_wal_missing", path=str(path), epoch=epoch.epoch, predecessor=epoch.predecessor)
        connection.execute(queries.set_is_open, (1,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if was_open or not is_disk_trouble(error):  # a full file must open all the same, to be emptied
            raise


def _next_epoch(connection: sqlite3.Connection, queries: Queries, now: datetime) -> Epoch:
    """Begin a new epoch in the same file: its rows keep their keys, and so their epoch and sequence."""
    name, _, _, base = connection.execute(queries.select_epochs).fetchall()[-1]
    (high,) = connection.execute("SELECT sequence_high FROM ledger").fetchone()
    epoch = Epoch(epoch=str(uuid6.uuid7()), predecessor=name, predecessor_last_sequence=high - base, base=high)
    insert_epoch(connection, queries, epoch, now)
    connection.execute(queries.begin_ledger)
    return epoch


def _recover(
    data_dir: Path, note: DamageNote, *, migrations: tuple[Migration, ...], queries: Queries, now: datetime
) -> None:
    path = data_dir / DATABASE_NAME
    _on_disk(path, lambda: recover(data_dir, note, migrations=migrations, queries=queries, now=now))


def _create(
    path: Path,
    *,
    queries: Queries,
    migrations: tuple[Migration, ...],
    now: datetime,
    predecessor: tuple[str, int] | None,
) -> None:
    known, known_last = predecessor or (None, None)
    epoch = Epoch(epoch=str(uuid6.uuid7()), predecessor=known, predecessor_last_sequence=known_last)
    _on_disk(path, lambda: create_database(path.parent, migrations=migrations, queries=queries, epoch=epoch, now=now))
    log.info("outbox_created", path=str(path), epoch=epoch.epoch)


def _on_disk(path: Path, make: Callable[[], None]) -> None:
    """Run ``make``; its errors leave as OutboxUnusable or DiskNotReady."""
    try:
        make()
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskNotReady(f"{path} can't be made: the disk is full; free some space") from error
        raise OutboxUnusable(
            f"{path} can't be made ({error.strerror}): check the data directory's owner and the free disk space"
        ) from error


def _caps(settings: OutboxSettings) -> Caps:
    reserve = min(RESERVE_BYTES_MAX, settings.bytes_max // RESERVE_SHARE)
    return Caps(
        rows_max=settings.rows_max,
        bytes_max=settings.bytes_max - reserve,
        refusals_max=settings.refusals_max,
        prune_bytes_max=min(PRUNE_BYTES_MAX, reserve // 2),
        when_full=settings.when_full,
    )
