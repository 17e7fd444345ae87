"""Repeats, advertisements said again, silence."""

from adapters.ble.advertisements import Heard, Scalar, SensedValues
from adapters.ble.sensor_watch import ADVERTS_MAX, AdvertMemory, RepeatWindow, SilenceWatch


def sensed(**values: Scalar) -> SensedValues:
    return SensedValues(values=values, fingerprint=repr(values))


def heard(address: str = "a", **manufacturer_data: bytes) -> Heard:
    companies = {int(company.removeprefix("id")): data for company, data in manufacturer_data.items()}
    return Heard(address=address, name="s", rssi=-60, service_data={}, manufacturer_data=companies)


# --- repeats ------------------------------------------------------------------------------------------


def test_equal_values_inside_the_window_are_one_event() -> None:
    window = RepeatWindow(window_s=60)
    x, y = sensed(t=1), sensed(t=2)

    news = [window.is_news("a", one, now_s) for one, now_s in [(x, 0), (x, 59), (y, 59), (y, 120)]]

    assert news == [True, False, True, True]


def test_a_value_that_comes_back_is_news() -> None:
    window = RepeatWindow(window_s=60)

    assert [window.is_news("a", sensed(t=value), 0) for value in (1, 2, 1)] == [True, True, True]


def test_values_told_in_turn_are_repeats_of_their_own_kind() -> None:
    window = RepeatWindow(window_s=60)
    said = [sensed(t=1), sensed(h=50), sensed(t=1), sensed(h=50), sensed(t=2)]

    assert [window.is_news("a", one, 0) for one in said] == [True, True, False, False, True]


def test_what_could_not_be_committed_is_news_again() -> None:
    window = RepeatWindow(window_s=60)
    window.is_news("a", sensed(t=1), 0)
    window.forget("a", sensed(t=1))

    assert window.is_news("a", sensed(t=1), 1)


# --- advertisements -----------------------------------------------------------------------------------


def test_the_same_advertisement_is_known_and_another_is_not() -> None:
    memory = AdvertMemory()
    memory.remember(heard(id1=b"x"), sensed(t=1))

    same = memory.last(heard(id1=b"x"))

    assert same is not None
    assert same.sensed == sensed(t=1)
    assert memory.last(heard(id1=b"y")) is None
    assert memory.last(heard("b", id1=b"x")) is None


def test_only_what_is_new_of_all_that_bluez_keeps_is_passed_on() -> None:
    memory = AdvertMemory()
    memory.remember(heard(id1=b"x", id2=b"y"), None)

    assert memory.new_data(heard(id1=b"x", id2=b"y", id3=b"z")) == {3: b"z"}
    assert memory.new_data(heard(id1=b"X", id2=b"y")) == {1: b"X"}
    assert memory.new_data(heard(id1=b"x")) == {1: b"x"}
    assert memory.new_data(heard("b", id1=b"x", id2=b"y")) == {1: b"x", 2: b"y"}


def test_strangers_are_forgotten_in_the_order_in_which_they_were_heard() -> None:
    memory = AdvertMemory()
    for number in range(ADVERTS_MAX + 1):
        memory.remember(heard(str(number), id1=b"x"), None)

    assert memory.last(heard("0", id1=b"x")) is None
    assert memory.last(heard("1", id1=b"x")) is not None


# --- silence ------------------------------------------------------------------------------------------


def test_the_first_sign_of_life_is_told_and_strangers_are_nobody() -> None:
    watch = SilenceWatch(expected={"a": 10}, now_s=0)

    assert [watch.heard("a", 1), watch.heard("a", 2), watch.heard("b", 3)] == [True, False, False]


def test_a_silent_device_is_told_once_and_once_more_after_it_was_back() -> None:
    watch = SilenceWatch(expected={"a": 10, "b": 100}, now_s=0)
    watch.heard("a", 0)

    assert watch.newly_silent(9) == []
    assert watch.newly_silent(10) == ["a"]
    assert watch.newly_silent(11) == []
    assert (watch.silent, watch.limit_s("a")) == (1, 10)
    assert watch.heard("a", 12)
    assert not watch.heard("a", 13)
    assert watch.newly_silent(30) == ["a"]


def test_time_without_a_radio_is_no_silence() -> None:
    watch = SilenceWatch(expected={"a": 10}, now_s=0)

    watch.listens_from(3600)

    assert watch.newly_silent(3609) == []
    assert watch.newly_silent(3610) == ["a"]


def test_a_device_told_as_silent_is_not_told_again_after_time_without_a_radio() -> None:
    watch = SilenceWatch(expected={"a": 10}, now_s=0)
    watch.newly_silent(10)

    watch.listens_from(3600)

    assert watch.newly_silent(3610) == []
    assert watch.heard("a", 3611)
