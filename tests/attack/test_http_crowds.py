"""Connections by the thousand that want nothing but to stay, while a good device of another address is served."""

import re
import resource
import time
from pathlib import Path

import pytest
import requests

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.siege import crowd, under_watch

TEN_THOUSAND = 10_000
CONNECTIONS_MAX = TEN_THOUSAND + 100
# Measured: 9 KiB on x86_64 with CPython 3.11. HTTP_CONNECTION_BYTES of gateway/memory_shares.py is 22 KiB.
KIB_EACH_MAX = 16
SETTLE_TIMEOUT_S = 120.0

_HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
needs_open_files = pytest.mark.skipif(
    resource.RLIM_INFINITY != _HARD < CONNECTIONS_MAX + 300, reason=f"the hard limit of open files here is {_HARD}"
)


def wait_for_connections(gateway: GatewayProcess, count: int) -> None:
    """Return when the gateway has at least as many open."""
    give_up_at = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        text = requests.get(f"{gateway.admin}/metrics", timeout=SETTLE_TIMEOUT_S).text
        found = re.search(r"^gateway_http_connections (\S+)$", text, re.MULTILINE)
        if found is not None and float(found[1]) >= count:
            return
        assert time.monotonic() < give_up_at, f"{found} connections, not {count}"
        time.sleep(0.1)


@pytest.mark.parametrize("kinds", [("silent", "header"), ("body", "chunked")])
def test_a_slow_crowd_of_one_address_leaves_room_for_others(gateway: GatewayProcess, kinds: tuple[str, ...]) -> None:
    with under_watch(gateway) as watch, crowd(gateway.http, 400, *kinds):
        watch.wait_for_more(5)
    watch.assert_unharmed(growth_mib_max=100)


@pytest.mark.timeout(400)  # some 15 s; as slow as the machine is
@needs_open_files
def test_ten_thousand_slow_connections_cost_bounded_memory(tmp_path: Path) -> None:
    environment = {
        "GATEWAY_HTTP__CONNECTIONS_MAX": str(CONNECTIONS_MAX),
        "GATEWAY_HTTP__HEADER_TIMEOUT_S": "300",  # so that they are there together on a slow machine too
        "GATEWAY_LIMITS__MEMORY_BUDGET_MB": "600",
    }
    with (
        GatewayProcess(tmp_path / "data", environment=environment) as gateway,
        under_watch(gateway) as watch,
        crowd(gateway.http, TEN_THOUSAND, "silent", "header"),
    ):
        wait_for_connections(gateway, TEN_THOUSAND * 3 // 4)  # the kernel lets the others wait where we are slow
        watch.wait_for_more(5)
    watch.assert_unharmed(growth_mib_max=TEN_THOUSAND * KIB_EACH_MAX / 1024)
