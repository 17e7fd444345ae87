"""What the start prints, as text."""

from collections.abc import Sequence

from gateway.banner import BannerFacts, Standing, render


def _banner(where: str, *addresses: str) -> Sequence[str]:
    standing = Standing(
        access="open",
        tls="",
        networks=(),
        interface="",
        is_loopback=not addresses,
        plain_networks=(),
        addresses=addresses,
    )
    facts = BannerFacts(
        version="0.1.0",
        gateway_id="gw",
        faces=[("http", where)],
        standing={"http": standing},
        device_url="http://127.0.0.1:8080",
        curl_options="",
        model="fruit",
        data_file="data/outbox.db",
        waiting=1,
        uplink="not configured",
        example_picture="picture.jpg",
        lan=False,
    )
    return [line.strip() for line in render(facts).splitlines()]


def test_a_listener_at_every_address_names_those_that_a_device_can_be_given() -> None:
    lines = _banner("http://0.0.0.0:8080", "192.168.1.7", "10.0.0.2")
    assert "devices call http://192.168.1.7:8080, http://10.0.0.2:8080" in lines


def test_a_listener_at_one_address_needs_no_other() -> None:
    assert not any("devices call" in line for line in _banner("http://127.0.0.1:8080"))
