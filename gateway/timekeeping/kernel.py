"""What this system says about its wall clock: the kernel's NTP state, and systemd-timesyncd's mark.

Every daemon that disciplines the clock (chrony, timesyncd, ntpd, ptp4l) does so through the kernel, which is asked by
``adjtimex(2)``: reading needs no privilege and changes nothing.
"""

import ctypes
import os
from pathlib import Path

import structlog

from gateway.timekeeping.trust import Evidence

log = structlog.get_logger(__name__)

# NTP_PHASE_LIMIT of linux/timex.h, in microseconds: the error bound at start and after a step. A daemon that knows
# better sets it lower. systemd's timedated judges the same (`ntp_synced`): STA_UNSYNC alone says nothing, since
# chrony without `rtcsync` leaves it set.
MAXERROR_LIMIT_US = 16_000_000
_STA_UNSYNC = 0x0040
# systemd-timesyncd.service(8): made, and touched, whenever the clock was synchronised; /run begins empty.
TIMESYNC_MARK = Path("/run/systemd/timesync/synchronized")
# struct timex has 208 bytes on 64-bit machines; what we read stands at its beginning.
_TIMEX_BYTES = 512


class _Timex(ctypes.Structure):
    # The beginning of struct timex, adjtimex(2).
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("_rest", ctypes.c_byte * _TIMEX_BYTES),
    )


class KernelClock:
    """Asks the system. ``evidence()`` never raises: a system that doesn't tell is one that is not synchronised."""

    def __init__(self, *, mark: Path = TIMESYNC_MARK) -> None:
        self._mark = mark
        self._told = False
        library = ctypes.CDLL(None, use_errno=True)
        self._adjtimex = getattr(library, "adjtimex", None)

    def evidence(self) -> Evidence:
        """Return what the system says now."""
        return Evidence(is_synchronised=self._is_disciplined(), was_synchronised=self._mark.exists())

    def _is_disciplined(self) -> bool:
        if self._adjtimex is None:
            return False
        state = _Timex()  # modes 0: read only
        if self._adjtimex(ctypes.byref(state)) < 0:
            self._tell(os.strerror(ctypes.get_errno()))
            return False
        return is_disciplined(status=state.status, maxerror_us=state.maxerror)

    def _tell(self, error: str) -> None:
        if not self._told:
            self._told = True
            log.warning("clock_state_unknown", error=error, cure="set clock.trust = always if the clock is right")


def is_disciplined(*, status: int, maxerror_us: int) -> bool:
    """Return whether a daemon keeps the clock, by the kernel's flags and its bound of the error."""
    return not status & _STA_UNSYNC or maxerror_us < MAXERROR_LIMIT_US
