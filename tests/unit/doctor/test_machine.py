"""What is said of clock, memory and cores."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway import RELEASED_AT
from gateway.doctor.finding import Level
from gateway.doctor.machine import (
    Memory,
    has_battery_clock,
    judge_clock,
    judge_cores,
    judge_memory,
    measure_memory,
)
from gateway.timekeeping.trust import Evidence, TrustMode

NOW = RELEASED_AT + timedelta(days=22)
PAST = datetime(1970, 1, 1, tzinfo=UTC)
NONE, SYNCED, ONCE = Evidence(), Evidence(is_synchronised=True), Evidence(was_synchronised=True)


@pytest.mark.parametrize(
    ("now", "evidence", "mode", "uses_cloud", "level", "words"),
    [
        (NOW, SYNCED, TrustMode.AUTO, True, Level.OK, "synchronised now"),
        (NOW, ONCE, TrustMode.AUTO, True, Level.OK, "since the start"),
        (NOW, NONE, TrustMode.AUTO, True, Level.WARN, "not synchronised"),
        (NOW, NONE, TrustMode.ALWAYS, True, Level.OK, "clock.trust = always"),
        (NOW, SYNCED, TrustMode.NEVER, True, Level.OK, "clock.trust = never"),
        (PAST, SYNCED, TrustMode.ALWAYS, False, Level.WARN, "before this software"),
        (PAST, NONE, TrustMode.AUTO, True, Level.FAIL, "the hub refuses us"),
    ],
)
def test_each_state_of_the_clock_has_its_answer(
    now: datetime, evidence: Evidence, mode: TrustMode, uses_cloud: bool, level: Level, words: str
) -> None:
    found = judge_clock(now=now, evidence=evidence, mode=mode, has_battery=True, uses_cloud=uses_cloud)
    assert (found.level, words in found.text) == (level, True)


def test_a_board_without_a_battery_clock_is_told_what_that_means() -> None:
    found = judge_clock(now=NOW, evidence=NONE, mode=TrustMode.AUTO, has_battery=False, uses_cloud=False)
    assert "no battery clock" in found.text


def test_a_battery_clock_is_one_that_the_kernel_shows(tmp_path: Path) -> None:
    assert not has_battery_clock(tmp_path / "rtc")
    (tmp_path / "rtc" / "rtc0").mkdir(parents=True)
    assert has_battery_clock(tmp_path / "rtc")


@pytest.mark.parametrize(
    ("memory", "is_running", "level"),
    [
        (Memory(total_mb=1000, available_mb=800), False, Level.OK),
        (Memory(total_mb=1000, available_mb=100), False, Level.WARN),
        (Memory(total_mb=1000, available_mb=100), True, Level.OK),
        (Memory(total_mb=250, available_mb=200), False, Level.FAIL),
    ],
)
def test_memory_is_compared_with_the_budget(memory: Memory, is_running: bool, level: Level) -> None:
    assert judge_memory(memory, budget_mb=256, is_running=is_running).level is level


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal:       8192000 kB\nMemFree: 1024 kB\nMemAvailable:   4096000 kB\nHugePages_Total: 0\n")
    assert measure_memory(meminfo, limit) == Memory(total_mb=8000, available_mb=4000)
    limit.write_text("max\n")
    assert measure_memory(meminfo, limit).total_mb == 8000
    limit.write_text(f"{512 * 1024 * 1024}\n")
    assert measure_memory(meminfo, limit) == Memory(total_mb=512, available_mb=512)


def test_cores_are_told_with_what_they_are_used_for() -> None:
    assert judge_cores(4, workers=3).text == "4; 3 pictures classified at once"
