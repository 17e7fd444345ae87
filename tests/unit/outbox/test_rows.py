"""Values to rows and back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outbox.rows import array_item, time_text

moments = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001  hypothesis adds the zone
    max_value=datetime(2999, 1, 1),  # noqa: DTZ001
    timezones=st.timezones(),
)


@given(moments)
def test_a_time_comes_back_the_same(moment: datetime) -> None:
    assert datetime.fromisoformat(time_text(moment)) == moment.astimezone(UTC)  # also where clocks jump


@given(moments, moments)
def test_the_order_of_texts_is_the_order_of_times(one: datetime, other: datetime) -> None:
    one, other = one.astimezone(UTC), other.astimezone(UTC)
    assert (time_text(one) < time_text(other)) == (one < other)


def test_a_time_of_another_zone_is_stored_in_utc() -> None:
    there = datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert time_text(there) == "2026-02-28T23:00:00.000000+00:00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("abc/2", ("abc", 2)), ("a/b/0", ("a/b", 0)), ("abc", None), ("abc/02", None), ("abc/", None), ("abc/²", None)],
)
def test_an_array_item_ends_in_a_plain_number(text: str, expected: tuple[str, int] | None) -> None:
    assert array_item(text) == expected
