"""Start, failure and stop of the HTTP adapter."""

import asyncio
import signal
import socket
import threading
import time

import pytest

from adapters.http.adapter import HttpAdapter, create_http_adapter
from gateway.errors import AdapterUnavailable
from gateway.messages import Receipt, Submission
from gateway.settings import HttpSettings, LimitsSettings
from tests.fakes.http_server import read_answer, serving_http
from tests.fakes.intake import FakeIntake, FakeReadiness, RecordingMeter

JPEG = b"\xff\xd8\xff" + bytes(1000)
POST = b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(JPEG)


class SlowIntake(FakeIntake):
    """Commits when ``let_go`` is set."""

    let_go: asyncio.Event
    entered: asyncio.Event

    async def submit(self, submission: Submission) -> Receipt:
        self.entered.set()
        await self.let_go.wait()
        return await super().submit(submission)


def adapter(intake: FakeIntake, listen: str = "127.0.0.1:0") -> HttpAdapter:
    return create_http_adapter(
        settings=HttpSettings(listen=listen),
        limits=LimitsSettings(),
        intake=intake,
        reader=intake,
        readiness=FakeReadiness(),
        meter=RecordingMeter(),
        clock=intake.clock,
        version="1.2.3",
    )


@pytest.fixture
def slow() -> SlowIntake:
    intake = SlowIntake()
    intake.let_go, intake.entered = asyncio.Event(), asyncio.Event()
    return intake


async def test_describe_names_the_real_port_once_started() -> None:
    http = adapter(FakeIntake())
    await http.start()
    assert http.describe() == f"http://127.0.0.1:{http.port}"
    assert http.port != 0
    await http.stop(5)


async def test_busy_port_is_unavailable_with_the_cure() -> None:
    first = adapter(FakeIntake())
    await first.start()
    second = adapter(FakeIntake(), f"127.0.0.1:{first.port}")
    with pytest.raises(AdapterUnavailable, match=r"http\.listen"):
        await second.start()
    await second.stop(1)
    await first.stop(5)


async def test_adapter_starts_again_on_its_port_after_a_stop() -> None:
    http = adapter(FakeIntake())
    for _ in range(2):
        await http.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
        writer.write(POST + JPEG)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        await http.stop(5)


async def test_stop_is_harmless_twice_and_before_start() -> None:
    http = adapter(FakeIntake())
    await http.stop(1)
    await http.start()
    await http.stop(5)
    await http.stop(5)


async def test_stop_finishes_what_was_admitted_and_accepts_no_more(slow: SlowIntake) -> None:
    http = adapter(slow)
    await http.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(POST + JPEG)
    await slow.entered.wait()
    stopping = asyncio.create_task(http.stop(5))
    await asyncio.sleep(0.05)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", http.port)
    slow.let_go.set()
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await stopping
    writer.close()
    assert len(slow.events) == 1


async def test_stop_cuts_what_does_not_end_by_the_deadline(slow: SlowIntake) -> None:
    http = adapter(slow)
    await http.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(POST + JPEG)
    await slow.entered.wait()
    before = time.monotonic()
    await http.stop(1)
    assert time.monotonic() - before < 3
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in answer
    writer.close()
    assert (slow.places_held, slow.bytes_held) == (0, 0)


async def test_client_that_is_still_sending_when_we_stop_is_told_to_send_again() -> None:
    intake = FakeIntake()
    http = adapter(intake)
    await http.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(POST + JPEG[:-1])
    await asyncio.sleep(0.05)
    await http.stop(1)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"stopping" in answer
    writer.close()


async def test_stop_closes_idle_and_half_said_connections() -> None:
    http = adapter(FakeIntake())
    await http.start()
    idle, idle_writer = await asyncio.open_connection("127.0.0.1", http.port)
    half, half_writer = await asyncio.open_connection("127.0.0.1", http.port)
    half_writer.write(b"GET / HT")
    await asyncio.sleep(0.05)
    before = time.monotonic()
    await http.stop(5)
    assert time.monotonic() - before < 2
    assert await idle.read() == b""
    assert await half.read() == b""
    idle_writer.close()
    half_writer.close()


async def test_failed_waits_while_the_server_lives_and_can_be_cancelled() -> None:
    http = adapter(FakeIntake())
    await http.start()
    watch = asyncio.create_task(http.failed())
    await asyncio.sleep(0.05)
    assert not watch.done()
    watch.cancel()
    await asyncio.wait({watch})
    await http.stop(5)


async def test_failed_raises_when_the_server_ends_by_itself() -> None:
    http = adapter(FakeIntake())
    await http.start()
    assert http._server._server is not None
    http._server._server.should_exit = True
    with pytest.raises(AdapterUnavailable):
        await http.failed()
    await http.stop(1)


async def test_signal_handlers_are_left_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    http = adapter(FakeIntake())
    await http.start()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    await http.stop(5)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_ipv6_listener_serves_and_names_itself() -> None:
    intake = FakeIntake()
    http = adapter(intake, "[::1]:0")
    try:
        await http.start()
    except AdapterUnavailable as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    reader, writer = await asyncio.open_connection("::1", http.port)
    writer.write(POST + JPEG)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert http.describe() == f"http://[::1]:{http.port}"
    assert intake.last.device_id == "ip---1"
    writer.close()
    await http.stop(5)


def test_sixteen_clients_each_get_their_own_answer() -> None:
    with serving_http() as serving:
        wrong: list[str] = []

        def client(number: int) -> None:
            with serving.connect() as connection:
                for turn in range(20):
                    key = f"{number}-{turn}"
                    head = f"POST /v1/devices/d{number}/images HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {key}\r\n"
                    connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(JPEG) + JPEG)
                    if f'"{key}"'.encode() not in read_answer(connection)[2]:
                        wrong.append(key)

        threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(serving.intake.events) == 320
