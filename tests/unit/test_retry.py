"""Back-off and pace."""

import random

import pytest

from gateway.retry import Backoff, TokenBucket

START = Backoff(initial_s=1, max_s=60)


def _after(failures: int) -> Backoff:
    backoff = START
    for _ in range(failures):
        backoff = backoff.failed()
    return backoff


def test_bound_doubles_with_each_failure_up_to_the_cap() -> None:
    assert [_after(n).bound_s for n in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_wait_is_uniform_between_nothing_and_the_bound() -> None:
    third = _after(3)
    assert third.wait_s(0.0) == 0
    assert third.wait_s(0.5) == 2
    rng = random.Random(1)
    waits = [third.wait_s(rng.random()) for _ in range(2000)]
    assert max(waits) < 4
    assert sum(waits) / len(waits) == pytest.approx(2, rel=0.05)


def test_success_begins_again_with_the_shortest_wait() -> None:
    assert _after(9).succeeded().failed().bound_s == 1


def test_cap_below_the_initial_wait_wins() -> None:
    assert Backoff(initial_s=10, max_s=3).failed().bound_s == 3


def test_months_of_failures_do_not_overflow() -> None:
    assert Backoff(initial_s=1, max_s=60, attempts=10_000_000).bound_s == 60


def _send_as_fast_as_allowed(rate_per_s: float, *, seconds: float) -> int:
    bucket, now_s, sent = TokenBucket.full(rate_per_s=rate_per_s, now_s=0), 0.0, 0
    while True:
        now_s += bucket.wait_s(now_s)
        if now_s > seconds:
            return sent
        bucket = bucket.spent(now_s)
        sent += 1


@pytest.mark.parametrize("rate_per_s", [0.1, 1, 7, 50])
def test_pace_allows_the_rate_and_one_seconds_worth_at_once(rate_per_s: float) -> None:
    sent = _send_as_fast_as_allowed(rate_per_s, seconds=100)
    burst = max(1, rate_per_s)
    assert rate_per_s * 100 - 1 <= sent <= rate_per_s * 100 + burst + 1


def test_rest_does_not_save_up_more_than_one_second() -> None:
    bucket = TokenBucket.full(rate_per_s=5, now_s=0)
    sent = 0
    while bucket.wait_s(3600) == 0:
        bucket = bucket.spent(3600)
        sent += 1
    assert sent == 5


def test_wait_is_exactly_enough_for_one_to_go() -> None:
    bucket = TokenBucket.full(rate_per_s=2, now_s=0).spent(0).spent(0)
    wait_s = bucket.wait_s(0)
    assert wait_s == 0.5
    assert bucket.wait_s(wait_s) == 0
