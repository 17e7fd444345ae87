"""Whose turn it is: freshness, fairness, back-off, the cap."""

from adapters.ble.roster import BACKOFF_MAX_S, FRESH_S, Roster, backoff_s


def roster(*addresses: str, now_s: float = 0.0) -> Roster[str]:
    made: Roster[str] = Roster()
    for address in addresses:
        made.saw(address, address, now_s)
    return made


def turn(of: Roster[str], now_s: float, *, failed: bool = False) -> str:
    found = of.next(now_s)
    assert found is not None
    of.began(found[0])
    of.ended(found[0], now_s, failed=failed, jitter=1.0)
    of.saw(found[0], found[0], now_s)
    return found[0]


def test_nobody_is_connected_from_a_stale_advertisement() -> None:
    assert roster("a").next(FRESH_S + 1) is None


def test_link_that_was_found_does_not_go_stale() -> None:
    made: Roster[str] = Roster()
    made.saw("a", "a", 0.0, linked=True)
    assert made.next(1000.0) == ("a", "a")


def test_turns_go_round() -> None:
    made = roster("a", "b", "c")
    assert [turn(made, float(n)) for n in range(1, 7)] == ["a", "b", "c", "a", "b", "c"]


def test_failed_device_waits_and_the_others_go_on() -> None:
    made = roster("a", "b")
    assert turn(made, 1.0, failed=True) == "a"
    assert [turn(made, 1.5), turn(made, 1.6)] == ["b", "b"]
    assert turn(made, 2.1) == "a"


def test_device_with_a_turn_is_not_chosen_again() -> None:
    made = roster("a")
    made.began("a")
    assert made.next(1.0) is None
    assert not made.anybody_waits(1.0)


def test_ended_turn_needs_a_new_advertisement() -> None:
    made = roster("a")
    made.began("a")
    made.ended("a", 1.0, failed=False, jitter=0.0)
    assert made.next(1.0) is None


def test_back_off_doubles_up_to_a_minute() -> None:
    assert [backoff_s(n) for n in (1, 2, 3, 7, 500)] == [1.0, 2.0, 4.0, BACKOFF_MAX_S, BACKOFF_MAX_S]


def test_strangers_push_out_those_not_heard_longest_but_nobody_with_a_turn() -> None:
    made: Roster[str] = Roster(devices_max=2)
    made.saw("old", "old", 0.0)
    made.began("old")
    made.saw("b", "b", 1.0)
    made.saw("c", "c", 2.0)
    made.ended("old", 3.0, failed=False, jitter=0.0)
    assert made.next(3.0) == ("c", "c")
