"""Commands reach the running gateway through its socket."""

import asyncio
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.control import SOCKET_NAME, ControlServer, ask_running_gateway
from gateway.errors import OperatorError, OutboxFull


async def echo(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"heard": arguments}


async def refuse(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    raise OutboxFull("no room")


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    server = ControlServer(tmp_path, {"echo": echo, "refuse": refuse})
    await server.start()
    yield tmp_path
    await server.stop()


async def test_answer_comes_back(data_dir: Path) -> None:
    assert await asyncio.to_thread(ask_running_gateway, data_dir, "echo", {"n": 1}) == {"heard": {"n": 1}}


async def test_refusal_is_an_operators_error(data_dir: Path) -> None:
    with pytest.raises(OperatorError, match="no room"):
        await asyncio.to_thread(ask_running_gateway, data_dir, "refuse")


async def test_unknown_command_is_refused(data_dir: Path) -> None:
    with pytest.raises(OperatorError, match="nothing_like_it"):
        await asyncio.to_thread(ask_running_gateway, data_dir, "nothing_like_it")


async def test_garbage_gets_an_answer_and_the_next_request_too(data_dir: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(data_dir / SOCKET_NAME)
    writer.write(b"\xff\xfe not json\n")
    assert b"error" in await reader.readline()
    writer.close()
    assert await asyncio.to_thread(ask_running_gateway, data_dir, "echo") == {"heard": {}}


async def test_socket_is_for_its_owner_only(data_dir: Path) -> None:
    assert stat.S_IMODE((data_dir / SOCKET_NAME).stat().st_mode) == 0o600


async def test_socket_left_by_a_killed_gateway_is_replaced_and_means_nobody_runs(tmp_path: Path) -> None:
    first = ControlServer(tmp_path, {"echo": echo})
    await first.start()
    assert first._server is not None
    first._server.close()  # as a kill would: the file stays
    (tmp_path / SOCKET_NAME).touch()
    second = ControlServer(tmp_path, {"echo": echo})
    await second.start()
    assert await asyncio.to_thread(ask_running_gateway, tmp_path, "echo") == {"heard": {}}
    await second.stop()
    assert ask_running_gateway(tmp_path, "echo") is None


async def test_data_directory_deeper_than_a_socket_path_may_be(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    server = ControlServer(deep, {"echo": echo})
    await server.start()
    assert await asyncio.to_thread(ask_running_gateway, deep, "echo") == {"heard": {}}
    await server.stop()
