"""Who gives way to whom when the intake is full."""

from gateway.giving_way import SETTLED_S, Unfinished, UnfinishedPlaces


class Site:
    """Places by number; ``gone`` are those that gave way."""

    def __init__(self) -> None:
        self.places = UnfinishedPlaces()
        self.gone: list[int] = []

    def add(self, number: int, source: str, since_s: float = 0) -> None:
        self.places.add(number, Unfinished(source=source, since_s=since_s, give_way=lambda: self.gone.append(number)))


def test_the_oldest_place_of_the_heaviest_source_goes() -> None:
    site = Site()
    for number, source in enumerate(["a", "b", "b", "b", "a"]):
        site.add(number, source)
    assert site.places.make_room_for("c", SETTLED_S)
    assert site.gone == [1]
    assert len(site.places) == 4


def test_a_sources_only_place_is_never_taken() -> None:
    site = Site()
    site.add(0, "a")
    site.add(1, "b")
    assert not site.places.make_room_for("c", 1000)
    assert not site.gone


def test_addresses_of_one_ipv6_subnet_give_way_together_to_another_subnet() -> None:
    site = Site()
    for number in range(3):
        site.add(number, f"2001:db8::{number:x}")
    assert not site.places.make_room_for("2001:db8::ffff", 1000)  # on one subnet nobody's only place is taken
    assert site.places.make_room_for("192.0.2.1", 1000)
    assert site.gone == [0]


def test_room_is_made_until_both_hold_the_same_and_no_further() -> None:
    site = Site()
    for number in range(6):
        site.add(number, "many")
    for number in range(6, 12):
        if not site.places.make_room_for("few", 1000):
            break
        site.add(number, "few")
    assert site.gone == [0, 1, 2]  # 3 and 3
    assert not site.places.make_room_for("many", 1000)


def test_a_young_place_is_left_to_finish() -> None:
    site = Site()
    site.add(0, "a", since_s=10)
    site.add(1, "a", since_s=10)
    assert not site.places.make_room_for("b", 10 + SETTLED_S / 2)
    assert site.places.make_room_for("b", 10 + SETTLED_S)


def test_what_is_finished_no_longer_gives_way() -> None:
    site = Site()
    for number in range(3):
        site.add(number, "a")
    site.places.discard(0)
    site.places.discard(0)
    assert site.places.make_room_for("b", 1000)
    assert site.gone == [1]
    assert not site.places.make_room_for("b", 1000)


def test_nobody_to_ask() -> None:
    assert not UnfinishedPlaces().make_room_for("a", 0)
