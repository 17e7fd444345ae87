"""The disk under the data directory: how long a sync takes, what that means for results a second, and free space."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from gateway.doctor.finding import Finding, fail, ok, warn
from gateway.outbox.gathering import SLOW_SYNC_S
from gateway.outbox.probe import CommitRates

PAGE_BYTES = 4096
# The WAL is overwritten in place once it has its size: so the probe's file is, and it has as many pages to go round.
PROBE_PAGES = 64
SYNCS_MAX = 64
SYNCS_TAKE_MAX_S = 4.0
# Nothing that keeps data without power is faster; an NVMe disk with capacitors takes about this.
TOO_GOOD_S = 10e-6
SLOW_DISK_S = 0.1  # 10 results a second one by one
VERY_SLOW_S = 1.0
# Below this the WAL, the ballast and a checkpoint find no room.
FREE_BYTES_MIN = 32 * 1024 * 1024
FREE_FILES_MIN = 64
MIB = 1024 * 1024
_SYNC, _SPEED, _SPACE = "sync", "results a second", "free space"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncTimes:
    """What a 4 KiB write and its sync took, in seconds."""

    median_s: float
    p99_s: float
    count: int


def measure_syncs(folder: Path, *, on_step: Callable[[int, int], None] = lambda _done, _of: None) -> SyncTimes:
    """Write and sync in ``folder``, at most SYNCS_MAX times or for SYNCS_TAKE_MAX_S. Raises OSError."""
    path = folder / "sync-probe"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, bytes(PROBE_PAGES * PAGE_BYTES), 0)
        os.fsync(descriptor)
        return _summary(_sync_times(descriptor, on_step))
    finally:
        os.close(descriptor)
        path.unlink()


def _sync_times(descriptor: int, on_step: Callable[[int, int], None]) -> list[float]:
    page, times, until_s = os.urandom(PAGE_BYTES), [], time.monotonic() + SYNCS_TAKE_MAX_S
    for n in range(SYNCS_MAX):
        began_s = time.perf_counter()
        os.pwrite(descriptor, page, n % PROBE_PAGES * PAGE_BYTES)
        os.fdatasync(descriptor)
        times.append(time.perf_counter() - began_s)
        on_step(n + 1, SYNCS_MAX)
        if time.monotonic() > until_s:
            break
    return times


def _summary(times: Sequence[float]) -> SyncTimes:
    if len(times) == 1:
        return SyncTimes(median_s=times[0], p99_s=times[0], count=1)
    cuts = quantiles(times, n=100, method="inclusive")
    return SyncTimes(median_s=cuts[49], p99_s=cuts[98], count=len(times))


def judge_syncs(times: SyncTimes) -> Finding:
    """Return what the disk's syncs are like."""
    figures = (("sync_median_s", times.median_s), ("sync_p99_s", times.p99_s), ("syncs", float(times.count)))
    text = f"{_ms(times.median_s)} (99 of 100 within {_ms(times.p99_s)}, of {times.count} measured)"
    if times.median_s >= VERY_SLOW_S:
        cure = "replace the card, or move gateway.data_dir to another disk; dmesg may tell of errors"
        return fail(_SYNC, f"{text}: devices would give up waiting", cure, figures=figures)
    if times.median_s >= SLOW_DISK_S:
        cure = "a card of class A1 or better, eMMC or an SSD; send readings in arrays"
        return warn(_SYNC, f"{text}: very slow", cure, figures=figures)
    if times.median_s < TOO_GOOD_S:
        cure = "make sure that a sync reaches the disk: no memory disk, no write cache that lies, no eatmydata"
        return warn(_SYNC, f"{text}: faster than a disk can be", cure, figures=figures)
    slow = ", a slow card: commits wait for company" if times.median_s >= SLOW_SYNC_S else ""
    return ok(_SYNC, text + slow, figures=figures)


def judge_rates(rates: CommitRates) -> Finding:
    """Return what to expect of the whole way to disk."""
    figures = (
        ("commits_one_by_one_per_s", rates.one_by_one_per_s),
        (f"commits_of_{rates.together}_at_once_per_s", rates.together_per_s),
    )
    text = (
        f"{rates.one_by_one_per_s:.0f} one after the other, {rates.together_per_s:.0f} when {rates.together} devices "
        "send at once (readings, without HTTP)"
    )
    return ok(_SPEED, text, figures=figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Free room for the gateway's user, and what the outbox file has and may have."""

    free_bytes: int
    free_files: int
    file_bytes: int
    bytes_max: int


def measure_space(folder: Path, database: Path, *, bytes_max: int) -> Space:
    """Return the room in ``folder``. Raises OSError."""
    disk = os.statvfs(folder)
    has_files = disk.f_files > 0  # btrfs and others have no fixed number
    return Space(
        free_bytes=disk.f_bavail * disk.f_frsize,
        free_files=disk.f_favail if has_files else FREE_FILES_MIN,
        file_bytes=database.stat().st_size if database.exists() else 0,
        bytes_max=bytes_max,
    )


def judge_space(space: Space) -> Finding:
    """Return whether the outbox can grow as it may."""
    figures = (("free_bytes", float(space.free_bytes)), ("outbox_bytes", float(space.file_bytes)))
    wanted = max(0, space.bytes_max - space.file_bytes) + FREE_BYTES_MIN
    text = f"{space.free_bytes // MIB} MiB"
    if space.free_bytes < FREE_BYTES_MIN:
        return fail(_SPACE, f"{text}: too little to start", "free some space under gateway.data_dir", figures=figures)
    if space.free_files < FREE_FILES_MIN:
        return fail(_SPACE, f"{space.free_files} files more are possible", "delete files: df -i", figures=figures)
    if space.free_bytes < wanted:
        cure = f"lower outbox.bytes_max to {_lower(space)} or less, or free some space"
        return warn(_SPACE, f"{text}, and the outbox may take {wanted // MIB} MiB more", cure, figures=figures)
    return ok(_SPACE, f"{text}; the outbox may take {wanted // MIB} MiB more", figures=figures)


def _lower(space: Space) -> int:
    return max(1, (space.file_bytes + space.free_bytes - FREE_BYTES_MIN) // MIB) * MIB


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
