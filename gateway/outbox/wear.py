"""How much the outbox writes to its disk: what wears a flash card out.

Counted by the kernel for the writer thread alone (proc_pid_io(5), ``write_bytes``): pages that it caused to be written
to storage. The file system's own journal comes on top, and what the card's controller makes of it is not visible.
"""

from dataclasses import dataclass
from pathlib import Path

THREAD_IO = Path("/proc/thread-self/io")
SECONDS_PER_DAY = 86_400
# A rate from less than this would say more about the start than about the day.
RATE_AFTER_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashWear:
    """Bytes written by the outbox: over the file's life, a day of it, and for each event since this process started.

    None where it can't be told: too early, no event yet, or a kernel that doesn't count.
    """

    written_bytes: int
    written_bytes_per_day: int | None
    written_bytes_per_event: int | None


def flash_wear(*, before: int, since_start: int, age_s: float, events_since_start: int) -> FlashWear:
    """Return the figures. ``before`` is what earlier processes wrote, ``age_s`` the file's powered age."""
    total = before + since_start
    return FlashWear(
        written_bytes=total,
        written_bytes_per_day=round(total / age_s * SECONDS_PER_DAY) if age_s >= RATE_AFTER_S else None,
        written_bytes_per_event=round(since_start / events_since_start) if events_since_start and since_start else None,
    )


class WrittenBytes:
    """Counts for the thread that calls :meth:`count`: always the same one."""

    def __init__(self, source: Path = THREAD_IO) -> None:
        self._source = source
        self._last: int | None = None
        self.total = 0

    def count(self) -> int:
        """Return what was written since the last call; 0 at the first, and where the kernel doesn't tell."""
        now = _write_bytes(self._source)
        if now is None:
            return 0
        written = 0 if self._last is None else max(0, now - self._last)
        self._last = now
        self.total += written
        return written


def _write_bytes(source: Path) -> int | None:
    try:
        lines = source.read_text(encoding="ascii").splitlines()
    except OSError:  # a kernel without task accounting, or a sandbox that hides it
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)
