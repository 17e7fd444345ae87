"""Opening the outbox file: with the settings that make a commit durable, or with a clear refusal.

The facts behind the settings: with ``synchronous=FULL`` power cuts lost no
acknowledged row, with NORMAL hundreds. A zero-length file would open as an
empty database without an error, so files are built under another name and
renamed when complete: a short one is never ours.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from gateway.errors import DiskNotReady, DiskUnavailable, OutboxDamaged, OutboxUnusable
from gateway.messages import Epoch
from gateway.outbox.files import DATABASE_NAME, NEW_DATABASE_NAME, sync_directory, sync_file
from gateway.outbox.look import look_over
from gateway.outbox.queries import Queries
from gateway.outbox.rows import time_text
from gateway.outbox.schema import Migration, check_version, migrate

DatabaseError = sqlite3.Error  # for those who may not import sqlite3 itself

PAGE_BYTES = 4096
# Readers of other programs hold locks for moments only; a device waits at most this long because of one.
BUSY_TIMEOUT_S = 5.0
# What the WAL shrinks to after a checkpoint: SQLite's own checkpoint interval of 1000 pages.
WAL_BYTES_KEPT = 1000 * PAGE_BYTES
_HEADER = b"SQLite format 3\0"
# Codes after which the same statement may succeed later: space returns, a card is put back, a lock is released.
_DISK_CODES = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_PERM,
    }
)
_DAMAGE_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class NotADatabase(OutboxUnusable):
    """The file has no header of a database: somebody else's, or an outbox that lost its first page."""


def is_disk_trouble(error: BaseException) -> bool:
    """Return whether ``error`` says that the disk, and not the statement, is at fault."""
    return isinstance(error, sqlite3.Error) and _primary_code(error) in _DISK_CODES


def leaves_connection_sound(error: BaseException) -> bool:
    """Return whether the connection may be used on: the disk is full, or another program holds a lock."""
    return isinstance(error, sqlite3.Error) and _primary_code(error) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}


def is_damage(error: BaseException) -> bool:
    """Return whether ``error`` says that the file is not a sound database."""
    return isinstance(error, sqlite3.Error) and _primary_code(error) in _DAMAGE_CODES


def disk_unavailable(error: sqlite3.Error) -> DiskUnavailable:
    """Return what a device is told about ``error``."""
    return DiskUnavailable(f"the outbox could not be written or read: {error}")


def _primary_code(error: sqlite3.Error) -> int:
    # Errors that the Python module makes itself (a wrong parameter) carry no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def create_database(
    data_dir: Path,
    *,
    migrations: Sequence[Migration],
    queries: Queries,
    epoch: Epoch,
    now: datetime,
    fill: Callable[[sqlite3.Connection], None] | None = None,
) -> None:
    """Build a new outbox file and return when it is on disk under its name, mode 0600.

    ``fill`` puts in what it begins with, before its epoch.
    """
    _refuse_orphaned_wal(data_dir)
    path = data_dir / NEW_DATABASE_NAME
    for suffix in ("", "-journal", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)  # left by a crash during an earlier try
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        migrate(connection, migrations)
        connection.execute("BEGIN")
        if fill is not None:
            fill(connection)
        insert_epoch(connection, queries, epoch, now)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    sync_file(path)
    path.rename(data_dir / DATABASE_NAME)
    sync_directory(data_dir)


def insert_epoch(connection: sqlite3.Connection, queries: Queries, epoch: Epoch, now: datetime) -> None:
    """Write an epoch into the open transaction. Raises sqlite3.Error."""
    row = (epoch.epoch, epoch.predecessor, epoch.predecessor_last_sequence, epoch.base, time_text(now))
    connection.execute(queries.insert_epoch, row)


def _refuse_orphaned_wal(data_dir: Path) -> None:
    # SQLite would play another file's WAL into the new one.
    wal = data_dir / f"{DATABASE_NAME}-wal"
    if wal.exists() and wal.stat().st_size > 0:
        raise OutboxUnusable(
            f"{wal} is there without {DATABASE_NAME}, which it belongs to: "
            "put the database back beside it, or move it away to start a new outbox"
        )


def open_for_writing(path: Path, *, bytes_max: int, migrations: Sequence[Migration]) -> sqlite3.Connection:
    """Return a durable connection to an existing outbox file, migrated: all that it shows is on disk.

    Raises OutboxUnusable with the cure, or DiskNotReady.
    """
    check_header(path)
    try:
        connection = _connect(f"{path.absolute().as_uri()}?mode=rw")
        try:
            check_version(connection, known=len(migrations))
            _configure(connection, bytes_max=bytes_max)
            _settle(connection, path)
            look_over(connection, migrations)
            migrate(connection, migrations)
        except BaseException:
            connection.close()
            raise
    except OutboxDamaged as error:
        raise damaged(path, error) from error
    except (sqlite3.Error, OutboxUnusable) as error:
        raise unusable(path, error) from error
    except OSError as error:
        raise DiskNotReady(f"{path} can't be opened: its WAL can't be synced ({error.strerror})") from error
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Return a read-only connection; it works beside a running gateway. Raises sqlite3.Error."""
    # SQLite wants to make its shared-memory file even to read. Where nobody can write and no WAL is, it need not.
    nobody_writes = is_read_only(path.parent) and not path.with_name(f"{path.name}-wal").exists()
    connection = _connect(f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if nobody_writes else ''}")
    connection.execute("PRAGMA query_only = ON")
    return connection


# SQLite makes its shared-memory file and a WAL header before the first write.
OPENING_BYTES = 256 * 1024


def unusable(path: Path, error: Exception) -> OutboxUnusable | DiskNotReady:
    """Return the operator's error for ``error`` at opening ``path``: a full disk passes, a mistake does not."""
    if isinstance(error, sqlite3.Error) and is_disk_trouble(error):
        if _is_full(path.parent):
            return DiskNotReady(f"{path} can't be opened: the disk is full ({error}); free some space")
        if _primary_code(error) == sqlite3.SQLITE_IOERR:
            return DiskNotReady(f"{path} can't be opened ({error}): is the card in, and sound?")
        if is_read_only(path.parent):
            return OutboxUnusable(
                f"{path} can't be opened where nothing can be written, since it was not closed: copy {path.name} and "
                f"{path.name}-wal into another folder, and name that: --set gateway.data_dir=FOLDER"
            )
        return OutboxUnusable(f"{path} can't be opened ({error}): check its permissions and the free disk space")
    if isinstance(error, sqlite3.Error):
        return damaged(path, error)
    return OutboxUnusable(f"{path} can't be used: {error}")


def damaged(path: Path, error: Exception | str) -> OutboxDamaged:
    """Return the operator's error for a file that is not sound."""
    return OutboxDamaged(
        f"{path} is damaged ({error}): when the gateway starts it sets the file aside whole, begins a new one and "
        "takes over what can be read",
        why=str(error),
    )


def is_read_only(directory: Path) -> bool:
    """Return whether the file system of ``directory`` is mounted read-only."""
    try:
        return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _is_full(directory: Path) -> bool:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < OPENING_BYTES


def check_header(path: Path) -> None:
    """Raise OutboxDamaged for a file that SQLite would take for an empty database, NotADatabase for one of no kind."""
    try:
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
    except OSError as error:
        raise OutboxUnusable(f"{path} can't be read ({error.strerror}): check its owner and permissions") from error
    if not header:
        raise damaged(path, "it is empty, as a full disk or an interrupted copy leaves it")
    if header != _HEADER:
        raise NotADatabase(f"{path} is not an SQLite database: move it away, or set another gateway.data_dir")


def _connect(uri: str) -> sqlite3.Connection:
    # check_same_thread: opened where the caller waits for errors, then used by one owned thread only.
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S, check_same_thread=False)


def _configure(connection: sqlite3.Connection, *, bytes_max: int) -> None:
    """Set what holds per connection, and believe only what is read back."""
    wanted_pages = bytes_max // PAGE_BYTES
    _require(connection, "journal_mode", "WAL", "wal")
    _require(connection, "synchronous", "FULL", 2)  # not NORMAL: an acknowledgement must survive a power cut
    _require(connection, "journal_size_limit", str(WAL_BYTES_KEPT), WAL_BYTES_KEPT)
    (pages_max,) = connection.execute(f"PRAGMA max_page_count = {wanted_pages}").fetchone()
    (page_count,) = connection.execute("PRAGMA page_count").fetchone()
    if pages_max != max(wanted_pages, page_count):
        raise OutboxUnusable(f"max_page_count is {pages_max}, not {wanted_pages}")
    (auto_vacuum,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    if auto_vacuum != 2:
        raise OutboxUnusable("it was not made by the gateway (auto_vacuum is not INCREMENTAL): move it away")


def _settle(connection: sqlite3.Connection, path: Path) -> None:
    """Put on disk what an earlier writer left in the WAL. Raises OSError or sqlite3.Error when that fails.

    A writer that was killed between a write and its fsync, or whose fsync failed, leaves commits that are in the
    kernel's memory alone. SQLite takes them for committed, and a device that sends again would be told so: lost with
    the next power cut (tests/faults: power-cut-after-kill). After a failed fsync a second one may succeed without
    having written anything, so the pages are copied into the file besides, which writes them anew.
    """
    connection.execute("SELECT 1 FROM sqlite_schema").fetchall()  # reads the WAL, and makes it where there is none
    sync_file(Path(f"{path}-wal"))
    sync_directory(path.parent)
    try:
        _, frames, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        if frames == copied and path.stat().st_size < pages * PAGE_BYTES:
            raise OutboxDamaged(f"it is cut off: {path.stat().st_size} of {pages * PAGE_BYTES} bytes are there")
    except sqlite3.OperationalError as error:
        if not leaves_connection_sound(error):  # a full disk has no room for the copies; the WAL itself is synced
            raise


def _require(connection: sqlite3.Connection, pragma: str, value: str, expected: str | int) -> None:
    connection.execute(f"PRAGMA {pragma} = {value}").fetchall()
    (actual,) = connection.execute(f"PRAGMA {pragma}").fetchone()
    if actual != expected:
        raise OutboxUnusable(
            f"{pragma} is {actual} and can't be set to {value}: "
            "the file system may not support it (a network share?); set gateway.data_dir to a local disk"
        )
