"""Which clients are in a network, and who counts as one."""

from ipaddress import ip_network

import pytest

from gateway.networks import is_in, subnet_of


@pytest.mark.parametrize(
    ("host", "is_inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fe80::1%eth0", True),
        ("11.1.2.3", False),
        ("2001:db8::1", False),
        ("", False),
        ("no address", False),
    ],
)
def test_an_address_is_in_a_listed_network(host: str, *, is_inside: bool) -> None:
    assert is_in(host, [ip_network("10.0.0.0/8"), ip_network("fe80::/10")]) is is_inside


def test_addresses_that_one_host_may_choose_among_count_as_one() -> None:
    assert subnet_of("2001:db8::1") == subnet_of("2001:db8:0:0:ffff::7%eth0") == "2001:db8::/64"
    assert subnet_of("2001:db8:0:1::1") != subnet_of("2001:db8::1")


def test_an_ipv4_client_is_itself_whatever_the_socket_speaks() -> None:
    assert subnet_of("192.0.2.1") == subnet_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert subnet_of("192.0.2.2") != subnet_of("192.0.2.1")
    assert subnet_of("") == ""
