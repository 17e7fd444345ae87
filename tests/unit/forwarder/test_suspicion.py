"""Which event breaks the link."""

import itertools
import math

import pytest

from gateway.forwarding.suspicion import (
    CHANCE_MAX,
    POISON_STRIKES,
    RETRY_AFTER_ACKNOWLEDGED,
    Suspicion,
    log_chance_of_a_bad_link,
)


def suspicion_of(*messages: tuple[int, ...]) -> Suspicion:
    """Return a search that begins with ``messages`` lost in one session."""
    suspicion = Suspicion()
    suspicion.lost(messages, is_first_of_session=False)
    return suspicion


def test_nobody_is_suspected_at_first() -> None:
    suspicion = Suspicion()
    assert not suspicion.is_cautious
    assert suspicion.next_group([1, 2, 3]) == [1, 2, 3]


def test_session_lost_with_nothing_in_flight_accuses_nobody() -> None:
    assert not suspicion_of().is_cautious


def test_what_was_in_flight_is_suspected_until_it_passes() -> None:
    suspicion = suspicion_of((1, 2), (3, 4))
    suspicion.acknowledged([1, 2])
    assert suspicion.is_cautious
    suspicion.acknowledged([3, 4])
    assert not suspicion.is_cautious


def test_suspects_fly_as_many_together_as_before() -> None:
    suspicion = suspicion_of((1, 2), (3, 4))
    assert suspicion.next_group([1, 2, 3, 4, 5]) == [1, 2]


def test_suspects_do_not_mix_with_others() -> None:
    suspicion = suspicion_of((1, 2, 3))
    suspicion.acknowledged([2, 3])
    assert suspicion.next_group([1, 4, 5]) == [1]
    assert suspicion.next_group([4, 5, 1]) == [4, 5]


def test_group_lost_alone_is_halved() -> None:
    suspicion = suspicion_of((1, 2, 3, 4))
    suspicion.lost([(1, 2, 3, 4)], is_first_of_session=True)
    assert suspicion.next_group([1, 2, 3, 4]) == [1, 2]
    suspicion.lost([(1, 2)], is_first_of_session=True)
    assert suspicion.next_group([1, 2, 3, 4]) == [1]


def test_single_event_lost_alone_steps_aside() -> None:
    suspicion = suspicion_of((1,), (2,))
    suspicion.lost([(1,)], is_first_of_session=True)
    assert suspicion.aside == {1}
    assert suspicion.next_group([1, 2]) == [2]


def test_trial_comes_after_some_others_were_acknowledged() -> None:
    suspicion = suspicion_of((1,))
    suspicion.lost([(1,)], is_first_of_session=True)
    for sequence in range(2, 2 + RETRY_AFTER_ACKNOWLEDGED):
        assert suspicion.next_trial([1, sequence], nothing_else=False) is None
        suspicion.acknowledged([sequence])
    assert suspicion.next_trial([1, 9], nothing_else=False) == 1


def test_trial_comes_at_once_when_nothing_else_waits() -> None:
    suspicion = suspicion_of((1,))
    suspicion.lost([(1,)], is_first_of_session=True)
    assert suspicion.next_trial([1], nothing_else=True) == 1


def test_those_aside_are_tried_in_turn() -> None:
    suspicion = suspicion_of((1,), (2,))
    suspicion.lost([(1,)], is_first_of_session=True)
    suspicion.lost([(2,)], is_first_of_session=True)
    assert suspicion.next_trial([1, 2], nothing_else=True) == 1
    suspicion.lost([(1,)], is_first_of_session=True)
    assert suspicion.next_trial([1, 2], nothing_else=True) == 2


def test_link_that_is_down_strikes_nobody() -> None:
    suspicion = suspicion_of((1,))
    verdicts = {suspicion.lost([(1,)], is_first_of_session=True) for _ in range(1000)}
    assert verdicts == {None}


def test_loss_that_was_not_first_in_its_session_is_no_strike() -> None:
    suspicion = suspicion_of((1,))
    for others in range(100, 1000, 10):
        assert suspicion.lost([(1,)], is_first_of_session=False) is None
        for sequence in range(others, others + 10):
            suspicion.acknowledged([sequence])


def strikes_until_verdict(*, passing_between: int, dropped_between: int = 0) -> int:
    """Try an event that never passes; in between others pass at once, or are dropped once before they pass."""
    suspicion = suspicion_of((1,))
    others = itertools.count(100)
    for strikes in itertools.count(1):
        if suspicion.lost([(1,)], is_first_of_session=True) == 1:
            return strikes
        for sequence in itertools.islice(others, dropped_between):
            suspicion.lost([(sequence,)], is_first_of_session=True)
            suspicion.acknowledged([sequence])
        for sequence in itertools.islice(others, passing_between):
            suspicion.acknowledged([sequence])
    raise AssertionError


def test_event_that_alone_is_lost_again_and_again_is_poison() -> None:
    assert strikes_until_verdict(passing_between=RETRY_AFTER_ACKNOWLEDGED) == 6


def test_more_others_that_pass_make_the_verdict_quicker_but_never_below_the_least() -> None:
    assert strikes_until_verdict(passing_between=1) == 11
    assert strikes_until_verdict(passing_between=1000) == POISON_STRIKES


def test_link_that_drops_others_too_needs_many_more_strikes() -> None:
    assert strikes_until_verdict(passing_between=4, dropped_between=1) > 10
    assert strikes_until_verdict(passing_between=1, dropped_between=1) > 20


def test_acknowledged_suspect_loses_its_strikes() -> None:
    suspicion = suspicion_of((1,))
    suspicion.lost([(1,)], is_first_of_session=True)
    suspicion.acknowledged([1])
    assert not suspicion.is_cautious
    assert suspicion.aside == frozenset()


def test_suspect_that_is_no_longer_pending_is_forgotten() -> None:
    suspicion = suspicion_of((1, 2))
    suspicion.keep_only([2, 3])
    assert suspicion.next_group([1, 2, 3]) == [1]
    suspicion.keep_only([3])
    assert not suspicion.is_cautious


def test_refused_batch_goes_in_halves_without_caution() -> None:
    suspicion = Suspicion()
    suspicion.refused([1, 2, 3, 4, 5])
    assert not suspicion.is_cautious
    assert suspicion.next_group([1, 2, 3, 4, 5, 6]) == [1, 2]


@pytest.mark.parametrize(("passes", "drops"), [(0, 0), (0, 5), (7, 0), (24, 3), (100, 100)])
def test_chance_of_a_bad_link_falls_with_every_strike(passes: int, drops: int) -> None:
    chances = [log_chance_of_a_bad_link(strikes, passes=passes, drops=drops) for strikes in range(10)]
    assert chances[0] == 0
    assert chances == sorted(chances, reverse=True)


def test_nothing_passed_means_the_link_explains_everything() -> None:
    assert log_chance_of_a_bad_link(50, passes=0, drops=3) == 0


def test_chance_is_the_likelihood_ratio_of_the_two_explanations() -> None:
    # 6 strikes, 24 passes: at a common rate of 6/30, against certain loss of the one and none of the others.
    expected = (6 / 30) ** 6 * (24 / 30) ** 24
    assert math.exp(log_chance_of_a_bad_link(6, passes=24, drops=0)) == pytest.approx(expected)
    assert expected < CHANCE_MAX
