"""A small HTTP CONNECT proxy that maps the SDK's fixed ports to the stand-in's real one.

It also plays the proxy of a site that lets nothing else out: with ``credentials`` it asks for Basic authentication.
And it plays a long line: ``one_way_delay_s`` is how long bytes are under way.
"""

import asyncio
import base64
from collections import deque
from collections.abc import Mapping

from gateway.simulators.iot_hub import stream

_HEAD_BYTES_MAX = 8192
_HEAD_TIMEOUT_S = 30.0
_PIPE_BYTES = 64 * 1024


class ConnectProxy:
    """Tunnels ``CONNECT name:port``, for the names and ports of ``targets``, to ``target_host`` at the mapped port."""

    def __init__(
        self, *, target_host: str, targets: Mapping[tuple[str, int], int], credentials: str | None = None
    ) -> None:
        self._target_host = target_host
        self._targets = targets
        self._credentials = credentials
        self._server: asyncio.Server | None = None
        self._tunnels: set[asyncio.Task[None]] = set()
        self.port = 0
        self.tunnels_opened = 0
        # Of each direction; half of a round trip. Counts for tunnels opened from then on. Bandwidth stays unlimited.
        self.one_way_delay_s = 0.0

    async def start(self, host: str, port: int) -> None:
        """Return when it listens; ``port`` then holds the real one."""
        self._server = await asyncio.start_server(self._serve, host, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Return when it has let go of every connection."""
        if self._server:
            self._server.close()
        for task in self._tunnels:
            task.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tunnels.add(task)
        try:
            await self._tunnel(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            stream.reset(writer)
        except asyncio.CancelledError:
            # Raised on, the stream server of Python 3.11 would log it as an unhandled error.
            pass
        finally:
            self._tunnels.discard(task)
            writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_TIMEOUT_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, port = self._decide(head[:_HEAD_BYTES_MAX])
        if status != 200:
            writer.write(f"HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        hub_reader, hub_writer = await asyncio.open_connection(self._target_host, port)
        self.tunnels_opened += 1
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pipe(reader, hub_writer), name="proxy-up")
                group.create_task(self._pipe(hub_reader, writer), name="proxy-down")
        except* OSError:
            # A reset on one side is passed on as a reset.
            stream.reset(writer)
            stream.reset(hub_writer)
        finally:
            hub_writer.close()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _LongLine(writer, self.one_way_delay_s) if self.one_way_delay_s else None
        while data := await reader.read(_PIPE_BYTES):
            if line is None:
                writer.write(data)
            else:
                line.write(data)
            await writer.drain()
        if line is not None:
            await line.empty()
        if writer.can_write_eof() and not writer.is_closing():
            writer.write_eof()

    def _decide(self, head: str) -> tuple[int, int]:
        method, _, target = head.partition("\r\n")[0].partition(" ")
        host, _, port = target.partition(" ")[0].rpartition(":")
        if self._credentials is not None and not self._authorised(head):
            return 407, 0
        if method != "CONNECT" or not port.isdigit() or (host, int(port)) not in self._targets:
            return 403, 0
        return 200, self._targets[host, int(port)]

    def _authorised(self, head: str) -> bool:
        assert self._credentials is not None
        expected = "basic " + base64.b64encode(self._credentials.encode()).decode().lower()
        lines = (line.lower() for line in head.split("\r\n"))
        return any(line.partition(":")[2].strip() == expected for line in lines if line.startswith("proxy-auth"))


class _LongLine:
    """Bytes under way: each chunk comes out ``delay_s`` after it went in, in order. Unbounded, as a fat pipe is."""

    def __init__(self, writer: asyncio.StreamWriter, delay_s: float) -> None:
        self._writer = writer
        self._delay_s = delay_s
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._under_way.append((loop.time() + self._delay_s, data))
        if self._is_empty.is_set():
            self._is_empty.clear()
            loop.call_later(self._delay_s, self._arrive)

    async def empty(self) -> None:
        """Return when all has come out."""
        await self._is_empty.wait()

    def _arrive(self) -> None:
        loop = asyncio.get_running_loop()
        while self._under_way and self._under_way[0][0] <= loop.time():
            self._writer.write(self._under_way.popleft()[1])
        if self._under_way:
            loop.call_at(self._under_way[0][0], self._arrive)
        else:
            self._is_empty.set()
