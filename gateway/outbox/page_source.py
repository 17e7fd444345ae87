"""The pages of a file that was set aside, newest version first: its WAL lies over it.

Reads with pread alone and writes nothing: the file stays as it was found. Of the WAL what SQLite would read is
believed; and where it was damaged in the middle, every sound frame behind that, too, which SQLite would drop.
Limits: the WAL is a few MiB (journal_size_limit); only where its frames lie is kept in memory.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.outbox.pages import PAGE_BYTES, PageDamaged

_WAL_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24
FRAME_BYTES = _FRAME_HEADER_BYTES + PAGE_BYTES
_WAL_MAGIC = 0x377F0682  # little-endian checksums; the lowest bit set: big-endian


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a WAL: a version of a page. ``commit_pages`` is not 0 in the last of a transaction."""

    page: int
    commit_pages: int
    at: int  # where the page begins in the WAL
    sound: bool


def wal_frames(path: Path) -> Iterator[Frame]:
    """Yield the frames of the WAL's present round, in order, sound ones and others; nothing where there is none."""
    try:
        with path.open("rb") as file:
            header = file.read(_WAL_HEADER_BYTES)
            if len(header) < _WAL_HEADER_BYTES:
                return
            magic, _, page_bytes, _, salt_1, salt_2, *start = struct.unpack(">8I", header)
            if magic & ~1 != _WAL_MAGIC or page_bytes != PAGE_BYTES:
                return
            word = ">" if magic & 1 else "<"
            sums = (start[0], start[1])
            at = _WAL_HEADER_BYTES
            while len(frame := file.read(FRAME_BYTES)) == FRAME_BYTES:
                page, commit_pages, frame_salt_1, frame_salt_2, *stored = struct.unpack_from(">6I", frame)
                if (frame_salt_1, frame_salt_2) == (salt_1, salt_2):
                    counted = _checksum(frame[:8] + frame[_FRAME_HEADER_BYTES:], sums, word)
                    sound = counted == (stored[0], stored[1])
                    yield Frame(page, commit_pages, at + _FRAME_HEADER_BYTES, sound)
                sums = (stored[0], stored[1])  # each frame's sum begins with that of the one before it, as it stands
                at += FRAME_BYTES
    except OSError:
        return


def _checksum(data: bytes, sums: tuple[int, int], word: str) -> tuple[int, int]:
    first, second = sums
    words = struct.unpack(f"{word}{len(data) // 4}I", data)
    for a, b in zip(words[::2], words[1::2], strict=True):
        first = first + a + second & 0xFFFFFFFF
        second = second + b + first & 0xFFFFFFFF
    return first, second


class PageSource:
    """Pages of ``path`` with ``path``-wal over it, by number from 1. Close it after use."""

    def __init__(self, path: Path) -> None:
        """Open both. A file that is not there counts as empty. Raises OSError where one can't be opened."""
        self._file = _opened(path)
        wal = Path(f"{path}-wal")
        self._wal = _opened(wal)
        self._overlay = _committed(wal)
        size = os.fstat(self._file).st_size if self._file >= 0 else 0
        self.page_count = max([size // PAGE_BYTES, *self._overlay])

    def close(self) -> None:
        """Close the files. Harmless when repeated."""
        for descriptor in (self._file, self._wal):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._wal = -1

    def read(self, number: int) -> bytes:
        """Return a page. Raises PageDamaged where it is not there or can't be read."""
        if not 1 <= number <= self.page_count:
            raise PageDamaged(f"there is no page {number}")
        at = self._overlay.get(number)
        descriptor, at = (self._file, (number - 1) * PAGE_BYTES) if at is None else (self._wal, at)
        try:
            page = os.pread(descriptor, PAGE_BYTES, at)
        except OSError as error:
            raise PageDamaged(f"page {number} can't be read: {error.strerror}") from error
        if len(page) < PAGE_BYTES:
            raise PageDamaged(f"page {number} is cut off")
        return page


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def is_broken_inside(wal: Path) -> bool:
    """Return whether a WAL lost commits that were synced: SQLite would drop them, and all later ones, without a word.

    A power cut tears the last transaction at most, since each is synced before the next is written. So a frame that is
    not sound, then the end of a transaction, then a sound frame of a later one: that was damaged afterwards.
    """
    broken = ended = False
    for frame in wal_frames(wal):
        if broken and ended and frame.sound:
            return True
        broken = broken or not frame.sound
        ended = ended or (broken and frame.commit_pages > 0)
    return False


def _committed(wal: Path) -> dict[int, int]:
    """Return where the newest committed version of each page begins."""
    beyond = is_broken_inside(wal)
    pages: dict[int, int] = {}
    transaction: dict[int, int] = {}
    for frame in wal_frames(wal):
        if not frame.sound and not beyond:
            break  # a torn end: what lies behind it may be of a transaction that was taken back
        if frame.sound:
            transaction[frame.page] = frame.at
        if frame.commit_pages:
            pages.update(transaction)
            transaction = {}
    return pages
