"""The line between the gateway and the hub: a TCP relay that can be refused, silent, or reset in the middle.

Runs in a thread with an event loop of its own; every method may be called from any thread.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

_PIPE_BYTES = 16 * 1024
_START_TIMEOUT_S = 20.0


class Uplink:
    """Listens on a port of its own and passes on to ``target``. Built by :func:`uplink`."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._silent = False
        self._reset_after_bytes: int | None = None
        self.port = 0

    @property
    def proxy(self) -> str:
        """The URL of the proxy as the gateway sees it."""
        return f"http://127.0.0.1:{self.port}"

    def refuse(self) -> None:
        """Nobody listens any more, and what was open is reset."""
        self._do(self._refuse)

    def accept(self) -> None:
        """Somebody listens again."""
        self._do(self._listen)

    def silence(self, *, silent: bool) -> None:
        """Pass nothing on, in either direction, with every connection open. Bytes meanwhile are gone for good."""
        self._silent = silent
        if not silent:
            self._do(self._reset_all)

    def reset_after(self, count: int | None) -> None:
        """Reset the connections when so many more bytes have gone towards the hub; None: never."""
        self._reset_after_bytes = count

    # --- in the loop --------------------------------------------------------------------------------------

    def serve(self, ready: threading.Event) -> None:
        """Run the loop until :meth:`end`."""
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._finish())
        self._loop.close()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _do(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(_START_TIMEOUT_S)

    async def _listen(self) -> None:
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            # Bound and not listening: refused, and nobody else takes the port.
            self._reserved = socket.socket()
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._reserved.bind(("127.0.0.1", self.port))
        await self._reset_all()

    async def _reset_all(self) -> None:
        for writer in tuple(self._writers):
            _reset(writer)

    async def _finish(self) -> None:
        await self._refuse()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._reserved is not None:
            self._reserved.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            hub_reader, hub_writer = await asyncio.open_connection(*self._target)
        except OSError:
            self._forget(writer)
            return
        self._writers.add(hub_writer)
        try:
            await asyncio.wait(
                [
                    asyncio.create_task(self._pipe(reader, hub_writer, upwards=True)),
                    asyncio.create_task(self._pipe(hub_reader, writer, upwards=False)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        except asyncio.CancelledError:
            pass  # raised on, the stream server of Python 3.11 would log it as an unhandled error
        finally:
            self._forget(writer)
            self._forget(hub_writer)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIPE_BYTES):
                if self._silent:
                    continue
                if upwards and self._reset_after_bytes is not None:
                    self._reset_after_bytes -= len(data)
                    if self._reset_after_bytes < 0:
                        writer.write(data[: self._reset_after_bytes])
                        await self._reset_all()
                        return
                writer.write(data)
                await writer.drain()

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP RST."""
    with contextlib.suppress(OSError):
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def uplink(target: str) -> Iterator[Uplink]:
    """Yield a relay in front of ``target``, the URL of the hub's proxy."""
    made, ready = Uplink(target), threading.Event()
    thread = threading.Thread(target=made.serve, args=(ready,), name="uplink")
    thread.start()
    assert ready.wait(_START_TIMEOUT_S), "the relay did not start"
    try:
        yield made
    finally:
        made.end()
        thread.join(_START_TIMEOUT_S)
