"""A disk that forgets, at a power cut, all that it was not told to keep: QEMU's blklogwrites, played back to a flush.

``kill -9`` of QEMU alone would be too kind: what the guest wrote, flushed or not, is in this machine's page cache and
stays. Here the disk after the cut is the one before the start, with the writes up to the last flush that was asked
for, and nothing after it. That is the harshest disk that keeps its word: a real one may have kept some of the rest.
The log's format is dm-log-writes' (the kernel's Documentation/admin-guide/device-mapper/log-writes.rst).
"""

import itertools
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SECTOR_BYTES = 512
MAGIC = 0x6A736677736872
SUPERBLOCK = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")
FLUSH, FUA, DISCARD = 1, 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One entry; ``data_at`` is where in the log its bytes are."""

    offset: int
    length: int
    flags: int
    data_at: int


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a disk, holes and all."""
    target.unlink(missing_ok=True)
    subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)


def settle(before: Path, log: Path, disk: Path) -> int:
    """Make ``disk`` what a power cut leaves of it; return how many writes were forgotten."""
    shutil.move(before, disk)
    with log.open("rb") as logged, disk.open("r+b") as target:
        writes = list(_entries(logged))
        flushes = [place for place, write in enumerate(writes) if write.flags & (FLUSH | FUA)]
        kept = flushes[-1] + 1 if flushes else 0
        for write in writes[:kept]:
            _apply(write, logged, target)
    return len(writes) - kept


def _entries(log: BinaryIO) -> Iterator[Write]:
    """Read what was logged. The count in the first block is as old as the last flush; zeros are the end."""
    magic, version, flushed, sector_bytes = SUPERBLOCK.unpack(log.read(SUPERBLOCK.size))
    assert (magic, version, sector_bytes) == (MAGIC, 1, SECTOR_BYTES), "not a log of writes"
    at = SECTOR_BYTES
    for number in itertools.count():
        log.seek(at)
        header = log.read(ENTRY.size)
        if len(header) < ENTRY.size or not any(header):
            # QEMU died between taking a place in the log and writing there: nothing can be said of what follows.
            assert number >= flushed, "the log has a hole: cut the power again"
            return
        sector, sectors, flags, _ = ENTRY.unpack(header)
        length = sectors * SECTOR_BYTES
        yield Write(offset=sector * SECTOR_BYTES, length=length, flags=flags, data_at=at + SECTOR_BYTES)
        at += SECTOR_BYTES + (0 if flags & DISCARD else length)


def _apply(write: Write, log: BinaryIO, disk: BinaryIO) -> None:
    disk.seek(write.offset)
    if write.flags & DISCARD:
        # QEMU logs so what the guest writes as zeros or discards.
        disk.write(bytes(write.length))
        return
    log.seek(write.data_at)
    disk.write(log.read(write.length))
