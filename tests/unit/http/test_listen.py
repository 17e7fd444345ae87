import socket

import pytest

from adapters.http.server import bind, parse_listen
from gateway.errors import AdapterUnavailable


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:0", ("::1", 0)),
        (":80", ("0.0.0.0", 80)),
        ("gateway.local:8080", ("gateway.local", 8080)),
    ],
)
def test_address_is_host_and_port(listen: str, expected: tuple[str, int]) -> None:
    assert parse_listen(listen, "http.listen") == expected


@pytest.mark.parametrize("listen", ["", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "::1:80", "a:70000"])
def test_other_addresses_name_the_setting(listen: str) -> None:
    with pytest.raises(AdapterUnavailable, match=r"http\.listen"):
        parse_listen(listen, "http.listen")


def test_busy_port_tells_how_to_find_its_owner_and_what_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AdapterUnavailable) as refused:
            bind("127.0.0.1", port, "http.listen")
    assert f"sport = :{port}" in str(refused.value)
    assert "http.listen" in str(refused.value)


def test_address_of_another_machine_is_told() -> None:
    with pytest.raises(AdapterUnavailable, match="not an address of this machine"):
        bind("192.0.2.1", 0, "http.listen")


def test_unknown_host_is_told() -> None:
    with pytest.raises(AdapterUnavailable, match="unknown"):
        bind("no.such.host.invalid", 0, "http.listen")
