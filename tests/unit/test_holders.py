"""Whose connection goes when the cap is reached."""

from dataclasses import dataclass

from gateway.holders import Holders


@dataclass(eq=False)
class One:
    """A connection."""

    rank: int | None = 0

    def gives_up(self) -> int | None:
        return self.rank


def held(*addresses: str, rank: int | None = 0) -> tuple[Holders[One], list[One]]:
    holders: Holders[One] = Holders()
    connections = [One(rank) for _ in addresses]
    for address, one in zip(addresses, connections, strict=True):
        holders.add(address, one)
    return holders, connections


def test_the_longest_waiting_connection_of_the_heaviest_address_goes() -> None:
    holders, connections = held("a", "b", "b", "b", "new")
    assert holders.one_to_give_up_for("new") is connections[1]


def test_an_address_that_holds_as_many_gives_up_nothing() -> None:
    assert held("a", "new")[0].one_to_give_up_for("new") is None
    assert held("a", "a", "a", "a")[0].one_to_give_up_for("a") is None


def test_addresses_of_one_ipv6_subnet_count_as_one() -> None:
    crowd = [f"2001:db8::{n:x}" for n in range(1, 5)]
    holders, connections = held("192.0.2.1", "192.0.2.1", *crowd, "192.0.2.2")
    assert holders.one_to_give_up_for("192.0.2.2") is connections[2]
    holders.discard(crowd[0], connections[2])
    assert holders.one_to_give_up_for("192.0.2.2") is connections[3]


def test_on_one_subnet_the_heaviest_address_gives_way_to_another() -> None:
    holders, connections = held("fe80::1%eth0", "fe80::2%eth0", "fe80::2%eth0", "fe80::3%eth0")
    assert holders.one_to_give_up_for("fe80::3%eth0") is connections[1]
    assert holders.one_to_give_up_for("fe80::2%eth0") is None


def test_an_address_can_give_up_its_own() -> None:
    holders, connections = held("a", "b", "b")
    assert holders.oldest_of("b") is connections[1]
    assert holders.oldest_of("c") is None


def test_a_connection_at_work_is_never_given_up() -> None:
    assert held("a", "a", "a", "new", rank=None)[0].one_to_give_up_for("new") is None


def test_heads_that_do_not_come_go_before_idle_ones_and_those_before_bodies() -> None:
    holders, connections = held("a", "a", "a", "a", "new")
    for one, rank in zip(connections, (2, 1, 1, None, 0), strict=True):
        one.rank = rank
    assert holders.one_to_give_up_for("new") is connections[1]


def test_what_has_left_is_forgotten() -> None:
    holders, connections = held("a", "a", "a", "new")
    for one in connections[:2]:
        holders.discard("a", one)
        holders.discard("a", one)
    assert holders.one_to_give_up_for("new") is None
    assert Holders[One]().one_to_give_up_for("new") is None
