"""The data directory: who may use it, under which names, and that its entries survive a power cut.

One process per directory, by ``flock`` on a side file: SQLite's own locks stay
free for readers (sqlite-utils, datasette, ``gateway outbox list``).
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from gateway.errors import DataDirectoryLocked, DiskNotReady, OutboxUnusable

DATABASE_NAME = "outbox.db"
NEW_DATABASE_NAME = "outbox.db.new"  # under construction; renamed when complete
LOCK_NAME = "outbox.lock"


def prepare_directory(data_dir: Path) -> None:
    """Make the data directory, readable by its owner alone. One that exists keeps its mode."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutboxUnusable(
            f"the data directory {data_dir} can't be made ({error.strerror}): "
            "set gateway.data_dir to a folder that the gateway may write to"
        ) from error


def sync_directory(directory: Path) -> None:
    """Return when the directory's entries are on disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Return when the file's bytes are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DirectoryLock:
    """Held by the one process that may write. The kernel gives it back when that process dies."""

    def __init__(self, data_dir: Path) -> None:
        """Take the lock.

        Raises DataDirectoryLocked (names the holder), OutboxUnusable (nothing may be written) or DiskNotReady.
        """
        self._data_dir = data_dir
        self._descriptor = -1
        self._take()

    def renew(self) -> None:
        """Take the lock of the directory that has the name now: a card put back is another one. Raises as above."""
        held = os.fstat(self._descriptor)
        try:
            found = (self._data_dir / LOCK_NAME).stat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != (held.st_dev, held.st_ino):
            former = self._descriptor
            self._take()
            os.close(former)

    def _take(self) -> None:
        path = self._data_dir / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno == errno.EIO:
                raise DiskNotReady(f"{path} can't be written ({error.strerror}): is the card in, and sound?") from error
            raise OutboxUnusable(
                f"{path} can't be written ({error.strerror}): "
                "give the gateway's user write access to the data directory, or set gateway.data_dir"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise DataDirectoryLocked(
                f"process {holder} already serves {self._data_dir}: "
                "stop it, or give this gateway its own gateway.data_dir"
            ) from error
        with contextlib.suppress(OSError):  # the name is a courtesy: a full disk must not keep a gateway from draining
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another process in. Harmless when repeated."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
