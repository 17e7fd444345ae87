"""The disk after a power cut: what was flushed, and nothing after it. Logs as QEMU's blklogwrites writes them."""

from pathlib import Path

import pytest

from tests.shipped.power import DISCARD, ENTRY, FLUSH, MAGIC, SECTOR_BYTES, SUPERBLOCK, settle

OLD, FIRST, SECOND = (bytes([value]) * SECTOR_BYTES for value in (1, 2, 3))


def sector(content: bytes) -> bytes:
    return content.ljust(SECTOR_BYTES, b"\0")


def write(place: int, content: bytes) -> bytes:
    return sector(ENTRY.pack(place, len(content) // SECTOR_BYTES, 0, 0)) + content


def flush() -> bytes:
    return sector(ENTRY.pack(0, 0, FLUSH, 0))


def after_the_cut(folder: Path, *entries: bytes, counted: int) -> tuple[bytes, int]:
    """Return a disk of three sectors as the cut leaves it, and how many writes it forgot."""
    before, log, disk = folder / "before", folder / "log", folder / "disk"
    before.write_bytes(OLD * 3)
    disk.write_bytes(b"whatever was written, flushed or not")
    log.write_bytes(sector(SUPERBLOCK.pack(MAGIC, 1, counted, SECTOR_BYTES)) + b"".join(entries))
    forgotten = settle(before, log, disk)
    return disk.read_bytes(), forgotten


def test_write_that_was_flushed_stays_and_one_after_it_is_forgotten(tmp_path: Path) -> None:
    disk, forgotten = after_the_cut(tmp_path, write(0, FIRST), flush(), write(1, SECOND), counted=2)
    assert disk == FIRST + OLD * 2
    assert forgotten == 1


def test_without_a_flush_everything_is_forgotten(tmp_path: Path) -> None:
    assert after_the_cut(tmp_path, write(0, FIRST * 2), counted=0) == (OLD * 3, 1)


def test_later_write_to_the_same_place_wins_and_a_discard_leaves_zeros(tmp_path: Path) -> None:
    discard = sector(ENTRY.pack(2, 1, DISCARD, 0))
    disk, _ = after_the_cut(tmp_path, write(0, FIRST), write(0, SECOND), discard, flush(), counted=4)
    assert disk == SECOND + OLD + bytes(SECTOR_BYTES)


def test_log_with_a_hole_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="hole"):
        after_the_cut(tmp_path, sector(b""), write(0, FIRST), flush(), counted=3)
