"""What this system says about its clock."""

from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.timekeeping.kernel import MAXERROR_LIMIT_US, KernelClock, is_disciplined

STA_UNSYNC = 0x40


@pytest.mark.parametrize(
    ("status", "maxerror_us", "expected"),
    [
        (STA_UNSYNC, MAXERROR_LIMIT_US, False),  # at start, and after a step
        (STA_UNSYNC, 1_200, True),  # chrony without rtcsync
        (0, 1_200, True),
        (0, MAXERROR_LIMIT_US, True),
    ],
)
def test_a_daemon_shows_in_the_flag_or_in_the_bound_of_the_error(status: int, maxerror_us: int, expected: bool) -> None:
    assert is_disciplined(status=status, maxerror_us=maxerror_us) is expected


def test_the_kernel_answers_without_privilege(tmp_path: Path) -> None:
    evidence = KernelClock(mark=tmp_path / "synchronized").evidence()
    assert isinstance(evidence.is_synchronised, bool)
    assert evidence.was_synchronised is False


def test_the_kernel_says_what_timedated_would(tmp_path: Path) -> None:
    # The structure's layout is ours to get right: ntp_gettimex(3) tells the bound of the error by another structure.
    import ctypes

    class NtpTime(ctypes.Structure):
        _fields_ = (
            ("seconds", ctypes.c_long),
            ("micros", ctypes.c_long),
            ("maxerror", ctypes.c_long),
            ("rest", ctypes.c_long * 8),
        )

    told = NtpTime()
    library = ctypes.CDLL(None)
    assert library.ntp_gettimex(ctypes.byref(told)) >= 0
    from gateway.timekeeping.kernel import _Timex

    state = _Timex()
    assert library.adjtimex(ctypes.byref(state)) >= 0
    assert abs(state.maxerror - told.maxerror) < 10_000_000


def test_the_mark_of_timesyncd_is_seen(tmp_path: Path) -> None:
    mark = tmp_path / "synchronized"
    mark.touch()
    assert KernelClock(mark=mark).evidence().was_synchronised


def test_a_reading_pairs_the_wall_clock_with_the_time_since_boot() -> None:
    clock = SystemClock()
    first, second = clock.reading(), clock.reading()
    assert second.boottime_s >= first.boottime_s > 0
    assert abs(first.offset_s - second.offset_s) < 1
    assert first.wall.tzinfo is not None


def test_the_boot_id_is_the_machines() -> None:
    assert SystemClock().boot_id == SystemClock().boot_id != ""


def test_where_the_boot_id_is_hidden_each_process_is_a_boot_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.clock.BOOT_ID_FILE", Path("/nowhere/boot_id"))
    one, other = SystemClock(), SystemClock()
    assert one.boot_id != other.boot_id
    assert one.reading().boottime_s < 5
