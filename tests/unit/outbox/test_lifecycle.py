"""The states of an event, and ranges of sequences, as pure functions."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages import EventState
from gateway.outbox.lifecycle import may_become, remaining_ranges, step


def test_only_three_changes_are_allowed() -> None:
    allowed = {(old, new) for old in EventState for new in EventState if may_become(old, new)}
    assert allowed == {
        (EventState.PENDING, EventState.DELIVERED),
        (EventState.PENDING, EventState.DEAD),
        (EventState.DEAD, EventState.PENDING),
    }


def test_a_change_that_is_not_allowed_is_our_bug() -> None:
    with pytest.raises(AssertionError, match="delivered can't become pending"):
        step(EventState.DELIVERED, EventState.PENDING)


@given(st.integers(1, 30), st.integers(0, 30), st.sets(st.integers(0, 70)))
def test_remaining_ranges_hold_exactly_what_was_not_removed(first: int, length: int, removed: set[int]) -> None:
    last = first + length
    ranges = list(remaining_ranges(first, last, removed))
    kept = [sequence for start, end in ranges for sequence in range(start, end + 1)]
    assert kept == [sequence for sequence in range(first, last + 1) if sequence not in removed]
    assert all(end + 1 < start for (_, end), (start, _) in pairwise(ranges))
