"""The machine's clocks behind the BootClock port."""

import time
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uuid6

from gateway.messages import ClockReading

log = structlog.get_logger(__name__)

BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")  # random(4): made anew at each start
# Two clocks can't be read at once. A pair that took longer than this (we were preempted) is read again.
READING_TAKES_MAX_S = 0.05
READING_TRIES = 10


class SystemClock:
    """Wall clock, monotonic clock and boot clock of this machine."""

    def __init__(self) -> None:
        self._started_s = 0.0
        try:
            self.boot_id = BOOT_ID_FILE.read_text(encoding="ascii").strip()
        except OSError as error:
            # Where /proc hides it, each start of the process counts as one of the machine.
            self.boot_id = f"process-{uuid6.uuid7()}"
            self._started_s = _boottime_s()
            log.warning("boot_id_unknown", path=str(BOOT_ID_FILE), error=error.strerror)

    def now(self) -> datetime:
        """Return the wall clock, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        return time.monotonic()

    def reading(self) -> ClockReading:
        """Return the wall clock and the time since boot (CLOCK_BOOTTIME: it counts sleep), read at one moment."""
        for _ in range(READING_TRIES):
            before_s = _boottime_s()
            wall = datetime.now(UTC)
            if _boottime_s() - before_s <= READING_TAKES_MAX_S:
                break
        return ClockReading(wall=wall, boottime_s=before_s - self._started_s)


def _boottime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
