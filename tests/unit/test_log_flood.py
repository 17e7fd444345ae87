"""Lines of a kind in a minute: the first, and the number of the rest."""

import logging

import pytest

from gateway import log_flood
from gateway.log_flood import BURST_LINES, WINDOW_S, FloodGate, LeftOut, LineKind


def line(event: str = "refused", reason: str = "malformed", name: str = "gateway.intake") -> logging.LogRecord:
    return logging.makeLogRecord({"name": name, "msg": {"event": event, "reason": reason}})


def written(gate: FloodGate, count: int, now_s: float, **of: str) -> int:
    return sum(gate.lets_through(line(**of), now_s) for _ in range(count))


def test_the_first_lines_of_a_kind_are_written_and_the_rest_is_told_as_a_number() -> None:
    gate = FloodGate()
    assert written(gate, BURST_LINES + 500, 0) == BURST_LINES
    assert gate.take_left_out(WINDOW_S - 1) == []
    assert gate.take_left_out(WINDOW_S) == [LeftOut(LineKind("gateway.intake", "refused", "malformed"), 500)]


def test_while_it_goes_on_a_minute_has_one_line_and_one_number() -> None:
    gate = FloodGate()
    written(gate, 1000, 0)
    for minute in range(1, 5):
        assert len(gate.take_left_out(minute * WINDOW_S)) == 1
        assert written(gate, 1000, minute * WINDOW_S) == 1


def test_a_quiet_minute_brings_the_first_lines_back() -> None:
    gate = FloodGate()
    written(gate, 1000, 0)
    gate.take_left_out(WINDOW_S)
    assert gate.take_left_out(2 * WINDOW_S) == []
    assert written(gate, 1000, 2 * WINDOW_S) == BURST_LINES


def test_a_flood_of_one_kind_hides_no_other() -> None:
    gate = FloodGate()
    written(gate, 1000, 0)
    assert written(gate, 1, 0, reason="too_large") == 1
    assert written(gate, 1, 0, event="part_failed") == 1
    assert written(gate, 1, 0, name="gateway.forwarder") == 1


def test_foreign_lines_count_together_by_their_template() -> None:
    gate = FloodGate()
    lines = [logging.makeLogRecord({"name": "asyncio", "msg": "late by %s", "args": (n,)}) for n in range(100)]
    assert sum(gate.lets_through(one, 0) for one in lines) == BURST_LINES


def test_kinds_are_bounded_and_what_is_beyond_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_flood, "KINDS_MAX", 3)
    gate = FloodGate()
    assert sum(gate.lets_through(line(event=str(n)), 0) for n in range(1000)) == 3 + BURST_LINES
    assert len(gate) == 4
    gate.take_left_out(2 * WINDOW_S)
    gate.take_left_out(4 * WINDOW_S)
    assert len(gate) == 0


def test_at_the_end_the_number_is_told_before_the_minute_is_over() -> None:
    gate = FloodGate()
    written(gate, BURST_LINES + 1, 0)
    assert [left.count for left in gate.take_left_out(0, at_end=True)] == [1]
