"""Bytes written to the disk for each event, beside the bytes of its payload; and what idling writes in a day.

Counted by the kernel for the writing thread (pages written back), and, where an ext4 image can be mounted (root),
for the whole device: that is with the file system's journal. Fewer is better, so here ``ours/bare`` should be small.
"""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from benchmarks.figure import Figure
from gateway.clock import SystemClock
from gateway.messages import ClockReading, EventDraft, IdReuse, Reading, Transport
from gateway.outbox.files import prepare_directory
from gateway.outbox.opening import open_store
from gateway.outbox.pruning import Keeping
from gateway.outbox.requests import CommitDrafts, MarkDelivered, Prune
from gateway.outbox.store import Store
from gateway.outbox.time_requests import KeepTime
from gateway.outbox.wear import WrittenBytes
from gateway.outbox.writer import KEEP_TIME_EVERY_S
from gateway.settings import OutboxSettings

GROUPS = (1, 8, 32)
EVENTS = 6400  # several checkpoints long
MARKED_TOGETHER = 8  # about what a 4 KB message holds
IMAGE_BYTES = 96 * 1024 * 1024
SECTOR_BYTES = 512  # of /sys/block/*/stat, whatever the disk's own
VALUES = json.dumps({"temperature": 21.5, "humidity": 40.2, "note": "x" * 160})
PER_DAY = 86_400 / 60  # one result a minute

Counter = Callable[[], int]


class AgingClock(SystemClock):
    """The machine's clock, with powered time on top: keeping times end when the benchmark says so."""

    def __init__(self) -> None:
        super().__init__()
        self.more = timedelta()

    def reading(self) -> ClockReading:
        now = super().reading()
        return replace(now, wall=now.wall + self.more, boottime_s=now.boottime_s + self.more.total_seconds())


def measure() -> Iterator[Figure]:
    """Yield bytes an event for each size of group, for a whole life, and what is written in a day."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        by_group = {group: _commits(folder / f"group-{group}", group, _thread_counter()) for group in GROUPS}
        for group, per_event in by_group.items():
            yield _figure(f"bytes written an event, {group} a commit", per_event)
        life = _life(folder / "life", _thread_counter())
        yield _figure("bytes written an event, 32 a commit, delivered, pruned and forgotten", life)
        idle = _keep_time(folder / "idle") * 86_400 / KEEP_TIME_EVERY_S
        day = by_group[1] * PER_DAY + idle
        yield Figure(
            name="MB written a day, one result a minute (idle included)",
            ours=f"{day / 1e6:.1f} MB (idle {idle / 1e6:.2f})",
            bare=f"{len(VALUES) * PER_DAY / 1e6:.2f} MB",
            ratio=day / (len(VALUES) * PER_DAY),
        )
        yield from _device_figures(folder)


def _device_figures(folder: Path) -> Iterator[Figure]:
    for group in GROUPS:
        with _image(folder) as mounted:
            if mounted is None:
                return
            place, counter = mounted
            per_event = _commits(place / "data", group, counter)
        yield _figure(f"the same on the device (ext4 and its journal), {group} a commit", per_event)


def _figure(name: str, per_event: float) -> Figure:
    return Figure(
        name=name, ours=f"{per_event:.0f} B", bare=f"{len(VALUES)} B of payload", ratio=per_event / len(VALUES)
    )


def _thread_counter() -> Counter:
    written = WrittenBytes()

    def total() -> int:
        written.count()
        return written.total

    total()
    return total


def _commits(data_dir: Path, group: int, counter: Counter) -> float:
    with _store(data_dir) as (store, clock):
        before = counter()
        for first in range(0, EVENTS, group):
            store.transact([_commit(number, clock) for number in range(first, first + group)])
    return (counter() - before) / EVENTS


def _life(data_dir: Path, counter: Counter) -> float:
    keeping = Keeping(delivered=timedelta(hours=72), ids=timedelta(days=30))
    with _store(data_dir) as (store, clock):
        before = counter()
        for first in range(0, EVENTS, 32):
            store.transact([_commit(number, clock) for number in range(first, first + 32)])
        for first in range(1, EVENTS + 1, MARKED_TOGETHER):
            sequences = range(first, first + MARKED_TOGETHER)
            store.transact([MarkDelivered(sequences=sequences, tombstone_ids=(), now=clock.now())])
        for more in (keeping.delivered, keeping.ids):
            clock.more += more
            while store.transact([Prune(keeping=keeping, now=clock.now())]).outcomes[0]:
                pass
        assert (store.ledger.rows, store.ledger.remembered) == (0, 0)
    return (counter() - before) / EVENTS


def _keep_time(data_dir: Path) -> float:
    rounds = 200
    with _store(data_dir) as (store, clock):
        store.transact([_commit(0, clock)])
        counter = _thread_counter()
        before = counter()
        for _ in range(rounds):
            store.transact([KeepTime(written_bytes=1)])
    return (counter() - before) / rounds


@contextlib.contextmanager
def _store(data_dir: Path) -> Iterator[tuple[Store, AgingClock]]:
    clock = AgingClock()
    prepare_directory(data_dir)
    store = open_store(data_dir, settings=OutboxSettings(), clock=clock)
    try:
        yield store, clock
    finally:
        store.close()


def _commit(number: int, clock: AgingClock) -> CommitDrafts:
    reading = clock.reading()
    draft = EventDraft(
        submission_id=f"01a20919-06e6-782e-9a42-{number:012}",
        item=None,
        device_id="sensor-1",
        transport=Transport.HTTP,
        received_at=reading.wall,
        captured_at=None,
        payload_sha256="0" * 64,
        payload_bytes=len(VALUES),
        result=Reading(values_json=VALUES),
        on_id_reuse=IdReuse.NEW_EVENT,
        boottime_s=reading.boottime_s,
    )
    return CommitDrafts([draft], now=reading.wall)


# --- a device of its own ------------------------------------------------------------------------------


@contextlib.contextmanager
def _image(folder: Path) -> Iterator[tuple[Path, Counter] | None]:
    """Enter: an ext4 file system on a loop device, and what was written to it; None where that is not possible."""
    image, place = folder / "image", folder / "mounted"
    place.mkdir(exist_ok=True)
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    # lazy_itable_init: or the kernel would write inode tables while we count.
    made = _run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image)])
    device = _run(["losetup", "--show", "--find", "--direct-io=off", str(image)]) if made is not None else None
    if device is None:
        yield None
        return
    try:
        if _run(["mount", device, str(place)]) is None:
            yield None
            return
        try:
            yield place, lambda: _sectors(device) * SECTOR_BYTES
        finally:
            _run(["umount", str(place)])
    finally:
        _run(["losetup", "--detach", device])


def _sectors(device: str) -> int:
    subprocess.run(["sync", "--file-system", device], check=True)
    # Documentation/block/stat.rst: the seventh field is sectors written.
    return int(Path(f"/sys/block/{Path(device).name}/stat").read_text().split()[6])


def _run(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
