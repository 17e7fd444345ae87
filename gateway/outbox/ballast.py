"""A file that takes room and is nothing else: on a full disk it is let go, so that marks and deletes can still be made.

SQLite in WAL mode needs room to delete and to checkpoint. Where something else
fills the disk, the outbox would otherwise stand still until people come. While
the ballast is out, what would grow the file is refused; it is taken back once
the disk has room again.
"""

import errno
import os
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

BALLAST_NAME = "outbox.ballast"
# It is made only where the disk has so many times its size left: it must never be what fills the disk.
ROOM_FACTOR = 3
# Below this much room a disk counts as full: SQLite makes its files of 32 KiB and a page or two at a time.
FULL_BELOW_BYTES = 256 * 1024


class Ballast:
    """``byte_count`` bytes in the data directory; 0: none. For one thread at a time."""

    def __init__(self, data_dir: Path, byte_count: int) -> None:
        self._path = data_dir / BALLAST_NAME
        self._bytes = byte_count
        self.is_out = False

    def keep(self) -> bool:
        """Make it where it is missing and there is room. Returns whether the outbox may grow."""
        if self._bytes == 0:
            self._drop()
            return True
        try:
            if self._is_whole() or self._make():
                if self.is_out:
                    log.info("outbox_ballast_back", bytes=self._bytes)
                self.is_out = False
        except OSError as error:
            # No room, or a file system in trouble: the outbox itself will say so if it is.
            log.debug("outbox_ballast_not_made", error=error.strerror)
        return not self.is_out

    def release(self) -> bool:
        """Let it go if the disk is full. Returns whether that made room."""
        try:
            if free_bytes(self._path.parent) >= FULL_BELOW_BYTES or not self._path.exists():
                return False
            self._drop()
        except OSError:
            return False
        self.is_out = True
        log.error("outbox_ballast_let_go", bytes=self._bytes, cure="free disk space under gateway.data_dir")
        return True

    def _is_whole(self) -> bool:
        return self._path.exists() and self._path.stat().st_size == self._bytes

    def _make(self) -> bool:
        self._drop()
        if free_bytes(self._path.parent) < ROOM_FACTOR * self._bytes:
            return False
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._bytes)  # takes the blocks and writes none: no wear
        except OSError as error:
            self._drop()
            if error.errno == errno.ENOSPC:
                return False
            raise
        finally:
            os.close(descriptor)
        return True

    def _drop(self) -> None:
        self._path.unlink(missing_ok=True)


def free_bytes(directory: Path) -> int:
    """Return what an ordinary user may still write to the disk of ``directory``. Raises OSError."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize
