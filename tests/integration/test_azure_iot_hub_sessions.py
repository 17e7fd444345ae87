"""The real SDK against the stand-in when nothing is broken: what arrives, how it is authenticated, ways through."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.cloud.child_link import MESSAGE_BYTES_MAX, PROPERTIES_BYTES_MAX, AzureIotHubLink
from gateway.errors import DiskUnavailable, LinkDown, MessageRefused
from gateway.messages import Command
from gateway.settings import CloudSettings
from tests.fakes.hub import RunningHub, running_hub
from tests.fakes.link import eventually, link_to, link_with, message


async def test_a_message_arrives_with_what_routing_queries_need(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link, link.session() as session:
        await session.send(message(7, b'{"items":[1]}', kind="reading", note="ä b/&=+%"))
        [received] = hub.messages
        assert received.body == b'{"items":[1]}'
        assert received.acknowledged
        assert received.properties == {
            "$.mid": "m-7",
            "$.ct": "application/json",
            "$.ce": "utf-8",
            "iothub-creation-time-utc": "2026-03-04T05:06:07.891Z",
            "kind": "reading",
            "note": "ä b/&=+%",
        }


async def test_many_messages_in_flight_are_all_acknowledged(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link, link.session() as session:
        hub.set_faults(puback_delay_s=0.05)
        for start in range(0, 64, 16):
            await asyncio.gather(*(session.send(message(start + n)) for n in range(16)))
        assert [received.message_id for received in hub.messages] == [f"m-{n}" for n in range(64)]


async def test_every_session_uses_a_fresh_connection_and_the_same_process(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link:
        pids = set()
        for number in range(3):
            async with link.session() as session:
                await session.send(message(number))
                figures = link.child_figures()
                assert figures is not None
                pids.add(figures.pid)
        assert [received.connection for received in hub.messages] == [1, 2, 3]
        assert len(pids) == 1


async def test_websockets_reach_the_hub_through_the_proxy_on_port_443(tmp_path: Path) -> None:
    async with (
        running_hub(tmp_path) as hub,
        link_to(hub, transport="websockets") as link,
        link.session() as session,
    ):
        await session.send(message(1, b"x" * 100_000))
        assert hub.messages[0].body == b"x" * 100_000
        assert hub.hub.proxy.tunnels_opened == 1


async def test_a_proxy_with_a_password_lets_us_through(tmp_path: Path) -> None:
    async with running_hub(tmp_path, proxy_credentials="site:pa ss@%:ü") as hub:
        proxy = hub.description.proxy.replace("site:pa ss@%:ü", "site:pa%20ss%40%25%3A%C3%BC")
        async with link_to(hub, proxy=proxy) as link, link.session() as session:
            await session.send(message())
        assert len(hub.messages) == 1


async def test_a_proxy_with_another_password_is_named_as_the_reason(tmp_path: Path) -> None:
    async with running_hub(tmp_path, proxy_credentials="site:right") as hub:
        proxy = hub.description.proxy.replace("right", "wrong")
        async with link_to(hub, proxy=proxy) as link:
            with pytest.raises(LinkDown) as down:
                await _open(link)
            assert down.value.reason == "proxy_refused"


async def test_the_secondary_key_opens_too(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub:
        secondary = hub.connection_string(secondary=True)
        async with link_to(hub, connection_string=secondary) as link, link.session() as session:
            await session.send(message())
        assert len(hub.messages) == 1


async def test_an_x509_certificate_opens_without_any_key(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_with(_x509(hub, device_id="gw1")) as link, link.session() as session:
        await session.send(message())
        assert [received.client_id for received in hub.messages] == ["gw1"]


async def test_a_certificate_of_another_device_is_refused(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_with(_x509(hub, device_id="other")) as link:
        with pytest.raises(LinkDown) as down:
            await _open(link)
        assert down.value.reason == "credentials_refused"


async def test_a_message_over_the_cap_is_refused_and_the_session_goes_on(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link, link.session() as session:
        with pytest.raises(MessageRefused) as refused:
            await session.send(message(1, b"x" * (MESSAGE_BYTES_MAX + 1)))
        assert refused.value.reason == "too_large"
        with pytest.raises(MessageRefused):
            await session.send(message(2, long="ü" * PROPERTIES_BYTES_MAX))
        await session.send(message(3, b"x" * (MESSAGE_BYTES_MAX - 100)))
        assert [received.message_id for received in hub.messages] == ["m-3"]


async def test_the_longest_properties_fit_into_a_topic(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link, link.session() as session:
        longest = "\u2028" * ((PROPERTIES_BYTES_MAX - 10) // 3)  # 3 bytes each, 9 when percent-encoded
        await session.send(message(1, note=longest))
        assert hub.messages[0].properties["note"] == longest


async def test_a_cloud_to_device_message_is_handed_over(tmp_path: Path) -> None:
    kept: list[Command] = []

    async def keep(command: Command) -> None:
        kept.append(command)

    async with running_hub(tmp_path) as hub, link_to(hub, on_command=keep) as link, link.session():
        hub.send_to_device("gw1", b'{"do":"it"}', **{"$.mid": "c-1", "colour": "a b"})
        await eventually(lambda: kept)
        assert (kept[0].command_id, kept[0].body) == ("c-1", b'{"do":"it"}')
        assert kept[0].properties["colour"] == "a b"


async def test_cloud_to_device_messages_wait_for_the_disk_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cloud.child_link._COMMAND_RETRY_S", 0.05)
    kept: list[str] = []
    refused: list[str] = []
    disk_is_full = True

    async def keep(command: Command) -> None:
        if disk_is_full:
            refused.append(command.command_id)
            raise DiskUnavailable("full")
        kept.append(command.command_id)

    async with running_hub(tmp_path) as hub, link_to(hub, on_command=keep) as link, link.session() as session:
        for number in range(3):
            hub.send_to_device("gw1", b"", **{"$.mid": f"c-{number}"})
        await eventually(lambda: len(refused) > 1)
        await session.send(message())  # a full disk for commands does not hold up what goes out
        disk_is_full = False
        await eventually(lambda: len(kept) == 3)
        assert kept == ["c-0", "c-1", "c-2"]


async def test_a_bug_while_keeping_a_command_ends_the_session_and_comes_up(tmp_path: Path) -> None:
    async def keep(_command: Command) -> None:
        raise RuntimeError("a bug")

    async with running_hub(tmp_path) as hub, link_to(hub, on_command=keep) as link:
        async with link.session() as session:
            hub.send_to_device("gw1", b"")
            with pytest.raises(LinkDown) as down:
                await session.lost()
            assert down.value.reason == "command_failed"
        with pytest.raises(RuntimeError, match="a bug"):
            await _open(link)
        async with link.session():
            pass


async def test_cloud_to_device_messages_that_come_at_once_keep_their_order(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    async def keep(command: Command) -> None:
        bodies.append(command.body)

    sent = [b"%d" % number for number in range(50)]  # what IoT Hub keeps for a device
    async with running_hub(tmp_path) as hub, link_to(hub, on_command=keep) as link, link.session():
        for body in sent:
            hub.send_to_device("gw1", body)
        await eventually(lambda: len(bodies) == len(sent))
    assert bodies == sent


async def test_a_command_without_an_id_gets_the_same_id_when_it_comes_again(tmp_path: Path) -> None:
    ids: list[str] = []

    async def keep(command: Command) -> None:
        ids.append(command.command_id)

    async with running_hub(tmp_path) as hub, link_to(hub, on_command=keep) as link, link.session():
        hub.send_to_device("gw1", b"same", a="1")
        hub.send_to_device("gw1", b"same", a="1")
        hub.send_to_device("gw1", b"same", a="2")
        await eventually(lambda: len(ids) == 3)
        assert ids[0] == ids[1] != ids[2]


async def test_a_session_that_is_old_enough_ends_before_the_sdk_renews_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cloud.child_link.SESSION_AGE_MAX_S", 0.2)
    async with running_hub(tmp_path) as hub, link_to(hub) as link, link.session() as session:
        with pytest.raises(LinkDown) as down:
            await session.lost()
        assert down.value.reason == "session_renewal"


async def test_the_view_shows_what_arrived(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, link_to(hub) as link, link.session() as session:
        await session.send(message(1, b'{"items":[{"n":1}]}', kind="reading"))
        shown = json.loads(await _get(hub.hub.view.port, "/messages"))
        assert shown["messages"][0]["body"] == {"items": [{"n": 1}]}
        assert shown["messages"][0]["properties"]["kind"] == "reading"
        assert b'{"items":[{"n":1}]}' in await _get(hub.hub.view.port, "/bytes")
        assert b"<h1>" in await _get(hub.hub.view.port, "/")


async def _get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


async def _open(link: AzureIotHubLink) -> None:
    async with link.session():
        pass


def _x509(hub: RunningHub, *, device_id: str) -> CloudSettings:
    files = hub.hub.issue_certificate(device_id)
    return hub.cloud_settings(
        connection_string="",
        hostname=hub.description.hostname,
        device_id="gw1",
        certificate_file=files.certificate,
        key_file=files.key,
    )
