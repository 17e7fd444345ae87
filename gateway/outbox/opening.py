"""From a data directory to an open Store: makes the file where there is none, and counts what is in it."""

import errno
import sqlite3
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog
import uuid6

from gateway.errors import DiskNotReady, OutboxUnusable
from gateway.messages import Epoch
from gateway.outbox.ballast import Ballast
from gateway.outbox.connection import create_database, open_for_writing, unusable
from gateway.outbox.files import DATABASE_NAME
from gateway.outbox.queries import Queries, load_queries
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


def open_store(
    data_dir: Path, *, settings: OutboxSettings, clock: BootClock, predecessor: tuple[str, int] | None = None
) -> Store:
    """Return the store of ``data_dir``, whose lock the caller holds. Raises OutboxUnusable or DiskNotReady."""
    path = data_dir / DATABASE_NAME
    queries, migrations = load_queries(), load_migrations()
    if not path.exists():
        _create(path, queries=queries, migrations=migrations, now=clock.now(), predecessor=predecessor)
    connect = partial(open_for_writing, path, bytes_max=settings.bytes_max, migrations=migrations)
    ballast = Ballast(data_dir, settings.ballast_bytes)
    ballast.keep()
    store = partial(Store, path, connect=connect, queries=queries, caps=_caps(settings), clock=clock, ballast=ballast)
    try:
        return store()
    except DiskNotReady:
        if not ballast.release():
            raise
        return store()


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
    try:
        create_database(path.parent, migrations=migrations, queries=queries, epoch=epoch, now=now)
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskNotReady(f"{path} can't be made: the disk is full; free some space") from error
        raise OutboxUnusable(
            f"{path} can't be made ({error.strerror}): check the data directory's owner and the free disk space"
        ) from error
    log.info("outbox_created", path=str(path), epoch=epoch.epoch)


def _caps(settings: OutboxSettings) -> Caps:
    reserve = min(RESERVE_BYTES_MAX, settings.bytes_max // RESERVE_SHARE)
    return Caps(
        rows_max=settings.rows_max,
        bytes_max=settings.bytes_max - reserve,
        refusals_max=settings.refusals_max,
        prune_bytes_max=min(PRUNE_BYTES_MAX, reserve // 2),
        when_full=settings.when_full,
    )
