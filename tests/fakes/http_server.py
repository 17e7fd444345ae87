"""The real HTTP adapter on a free port in a thread of its own, on fakes: tests can use plain blocking clients."""

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from adapters.http.adapter import HttpAdapter, create_http_adapter
from gateway.ports import TlsSource
from gateway.settings import HttpSettings, LimitsSettings
from tests.fakes.intake import FakeIntake, FakeReadiness, RecordingMeter

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="http-test-loop")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass
class Serving:
    """A running adapter and the fakes behind it."""

    adapter: HttpAdapter
    intake: FakeIntake
    readiness: FakeReadiness
    meter: RecordingMeter
    thread: LoopThread
    sockets: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.adapter.describe()

    def connect(self, timeout_s: float = 10, *, local: str = "127.0.0.1") -> socket.socket:
        """Return a raw connection from the address ``local``; it is closed with the server."""
        connection = socket.create_connection(("127.0.0.1", self.adapter.port), timeout_s, source_address=(local, 0))
        self.sockets.append(connection)
        return connection


@contextmanager
def serving_http(
    *,
    settings: HttpSettings | None = None,
    limits: LimitsSettings | None = None,
    intake: FakeIntake | None = None,
    tls: TlsSource | None = None,
) -> Iterator[Serving]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    chosen = settings or HttpSettings()
    if chosen.listen == HttpSettings().listen:
        chosen = chosen.model_copy(update={"listen": "127.0.0.1:0"})
    fake = intake or FakeIntake()
    readiness, meter = FakeReadiness(), RecordingMeter()
    adapter = create_http_adapter(
        settings=chosen,
        limits=limits or LimitsSettings(),
        intake=fake,
        reader=fake,
        readiness=readiness,
        meter=meter,
        clock=fake.clock,
        version="1.2.3",
        model_name="fruit",
        labels=("ripe", "unripe"),
        tls=tls,
    )
    thread = LoopThread()
    serving = Serving(adapter=adapter, intake=fake, readiness=readiness, meter=meter, thread=thread)
    try:
        thread.run(adapter.start())
        yield serving
    finally:
        for connection in serving.sockets:
            connection.close()
        thread.run(adapter.stop(5))
        thread.close()


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one answer off a raw connection: status, headers in lower case, body by Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionResetError(f"closed after {data!r}")
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return int(status_line.split()[1]), headers, body


def is_closed_by_peer(connection: socket.socket) -> bool:
    """Wait until the peer closes; False if the socket's timeout comes first."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True
    return True
