"""The real SDK against a stand-in that misbehaves: every fault ends in bounded time, and the next session works."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.cloud.child_link import AzureIotHubLink
from gateway.errors import LinkDown
from gateway.metrics import Metrics
from tests.fakes.hub import RunningHub, running_hub
from tests.fakes.link import eventually, link_to, message

# Longest: a connect to a silent hub, which the settings below cut at 3 s, and a 5 s close.
BOUND_S = 20


async def _fails_to_open(link: AzureIotHubLink) -> str:
    with pytest.raises(LinkDown) as down:
        async with asyncio.timeout(BOUND_S), link.session():
            pass
    return down.value.reason


async def _fails_to_send(link: AzureIotHubLink, hub: RunningHub, **faults: Any) -> str:
    try:
        async with asyncio.timeout(BOUND_S), link.session() as session:
            hub.set_faults(**faults)
            for number in range(20):
                await session.send(message(number))
    except LinkDown as down:
        return down.reason
    pytest.fail("nothing was lost")


async def _works_again(link: AzureIotHubLink, hub: RunningHub) -> None:
    hub.set_faults()
    async with asyncio.timeout(BOUND_S), link.session() as session:
        await session.send(message(1000))
    assert hub.messages[-1].message_id == "m-1000"


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"reject_connect": 5}, "credentials_refused"),
        ({"reject_connect": 3}, "refused_by_hub"),
        ({"hang_connack": True}, "connect_timeout"),
        ({"hang_suback": True}, "connect_timeout"),
        ({"silent_tls": True}, "connect_timeout"),
        ({"half_open": True}, "connect_timeout"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
async def test_a_hub_that_does_not_take_us_is_given_up(tmp_path: Path, faults: dict[str, Any], reason: str) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub, connect_timeout_s=2, send_timeout_s=1) as link:
        hub.set_faults(**faults)
        assert await _fails_to_open(link) == reason
        await _works_again(link, hub)


async def test_a_silent_tls_port_is_told_from_a_silent_hub_when_there_is_time(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub, connect_timeout_s=9, keep_alive_s=5) as link:
        hub.set_faults(silent_tls=True)
        assert await _fails_to_open(link) == "tls_timeout"
        await _works_again(link, hub)


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"no_puback": True}, "ack_timeout"),
        ({"half_open": True}, "ack_timeout"),
        ({"puback_delay_s": 30.0}, "ack_timeout"),
        ({"drop_before_puback": True}, "dropped"),
        ({"drop_after": 3}, "dropped"),
        ({"reset_after": 3}, "dropped"),
        ({"poison_text": "items"}, "dropped"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
async def test_a_link_that_breaks_while_sending_is_given_up(
    tmp_path: Path, faults: dict[str, Any], reason: str
) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub, send_timeout_s=1) as link:
        assert await _fails_to_send(link, hub, **faults) == reason
        await _works_again(link, hub)


async def test_a_reset_under_a_full_window_of_large_messages_wedges_nothing(tmp_path: Path) -> None:
    """A reset during writes kills paho's thread: `connected` stays True and no acknowledgement ever comes."""
    async with running_hub(tmp_path) as hub, link_to(hub, send_timeout_s=1) as link:
        for _ in range(3):
            hub.set_faults(reset_after=2)
            async with asyncio.timeout(BOUND_S), link.session() as session:
                answers = await asyncio.gather(
                    *(session.send(message(number, b"x" * 200_000)) for number in range(16)), return_exceptions=True
                )
            assert any(isinstance(answer, LinkDown) for answer in answers)
            assert all(answer is None or isinstance(answer, LinkDown) for answer in answers)
        await _works_again(link, hub)


async def test_what_was_acknowledged_before_a_drop_has_arrived(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        hub.set_faults(drop_after=5)
        async with link.session() as session:
            sends = (session.send(message(number)) for number in range(16))
            answers = await asyncio.gather(*sends, return_exceptions=True)
        acknowledged = {f"m-{number}" for number, answer in enumerate(answers) if answer is None}
        assert acknowledged <= {received.message_id for received in hub.messages}
        assert acknowledged


async def test_what_was_lost_is_not_sent_again_behind_our_back(tmp_path: Path) -> None:
    """The SDK's queue would send it in its next connection; a fresh client object has none."""
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        assert await _fails_to_send(link, hub, poison_text="items") == "dropped"
        hub.set_faults()
        async with link.session() as session:
            await session.send(message(1, b"{}"))
            await asyncio.sleep(0.2)
        assert [received.body for received in hub.messages] == [b"{}"]


async def test_an_idle_session_notices_that_it_was_dropped(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        async with link.session() as session:
            hub.kick()
            with pytest.raises(LinkDown) as down:
                async with asyncio.timeout(BOUND_S):
                    await session.lost()
            assert down.value.reason == "dropped"
            with pytest.raises(LinkDown):
                await session.send(message())
        await _works_again(link, hub)


async def test_a_wrong_key_is_named_as_the_reason(tmp_path: Path) -> None:
    async with running_hub(tmp_path, device_ids=("gw1", "gw2")) as hub:
        stolen = hub.connection_string("gw2").replace("gw2", "gw1")
        async with link_to(hub, connection_string=stolen) as link:
            assert await _fails_to_open(link) == "credentials_refused"
            await eventually(lambda: "another key" in hub.hub.last_refusal)


async def test_an_authority_we_do_not_know_is_named_as_the_reason(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, running_hub(tmp_path / "other") as other:
        async with link_to(hub, ca_file=other.description.ca_file) as link:
            assert await _fails_to_open(link) == "certificate_refused"
        async with link_to(hub, ca_file=None) as link:
            assert await _fails_to_open(link) == "certificate_refused"


async def test_a_certificate_from_our_future_blames_our_clock(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        hub.serve_certificate(not_before=datetime.now(UTC) + timedelta(days=1))
        assert await _fails_to_open(link) == "clock_wrong"


async def test_a_certificate_for_another_name_is_named_as_the_reason(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        hub.serve_certificate(common_name="another-hub.example")
        assert await _fails_to_open(link) == "certificate_refused"


async def test_a_missing_ca_file_is_named_as_the_reason(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub, ca_file=tmp_path / "gone.pem") as link:
        with pytest.raises(LinkDown) as down:
            async with link.session():
                pass
        assert down.value.reason == "file_unreadable"
        assert str(tmp_path / "gone.pem") in down.value.detail


async def test_a_closed_port_is_named_as_the_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with running_hub(tmp_path) as hub, link_to(hub, proxy=f"http://127.0.0.1:{port}") as link:
        assert await _fails_to_open(link) == "tcp_refused"


async def test_a_name_that_does_not_resolve_is_named_as_the_reason(tmp_path: Path) -> None:
    async with running_hub(tmp_path, hostname="no-such-hub.invalid") as hub, link_to(hub, proxy="") as link:
        assert await _fails_to_open(link) == "dns_failed"


async def test_a_proxy_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    """PySocks waits for a proxy's answer without a deadline: only killing the process ends it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with running_hub(tmp_path) as hub, link_to(hub, proxy=silent, connect_timeout_s=1) as link:
            assert await _fails_to_open(link) == "connect_timeout"


async def test_replaced_processes_are_counted_by_reason(tmp_path: Path) -> None:
    meter = Metrics()
    async with running_hub(tmp_path) as hub, link_to(hub, send_timeout_s=0.5, meter=meter) as link:
        assert await _fails_to_send(link, hub, no_puback=True) == "ack_timeout"
    assert b'gateway_cloud_child_restarts_total{reason="ack_timeout"} 1.0' in meter.exposition()


async def test_the_event_loop_is_never_blocked_by_a_silent_hub(tmp_path: Path) -> None:
    """The SDK in this process would freeze the loop for as long as the handshake lasts."""
    worst = 0.0

    async def feel_the_pulse() -> None:
        nonlocal worst
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.01)
            worst = max(worst, loop.time() - before)

    async with running_hub(tmp_path) as hub, link_to(hub, connect_timeout_s=2, send_timeout_s=1) as link:
        pulse = asyncio.create_task(feel_the_pulse())
        for faults in ({"silent_tls": True}, {"hang_suback": True}):
            hub.set_faults(**faults)
            await _fails_to_open(link)
        pulse.cancel()
    assert worst < 1.0
