"""An embedded uvicorn: a socket bound before anything starts, no signal handlers, no lifespan, a stop that returns.

Limits: one listener each. Cancelling uvicorn's serve() would skip its shutdown, so it is asked with ``should_exit``.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from adapters.http.protocol import DeviceProtocol, Guard, last_words
from gateway.errors import AdapterUnavailable
from gateway.interfaces import keep_to_interface
from gateway.ports import TlsSource
from gateway.settings import Network
from gateway.tls.door import TlsDoor

# What uvicorn needs after its graceful wait to leave serve(): two polls of its loop.
SHUTDOWN_MARGIN_S = 0.5
# For the answer to those who are cut off.
LAST_WORDS_S = 0.3
# The kernel's queue of connections that wait for accept(); above the cap they are refused with words.
BACKLOG = 256


class _Server(uvicorn.Server):
    """uvicorn without its hands on signals, telling when it serves."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program that embeds us."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and say so."""
        await super().startup(sockets=sockets)
        self.serving.set()


class EmbeddedServer:
    """One ASGI application on one address. ``setting`` names the key that mends a bad address."""

    def __init__(
        self,
        *,
        app: ASGIApp,
        listen: str,
        setting: str,
        guard: Guard,
        interface: str = "",
        tls: TlsSource | None = None,
        plain_networks: Sequence[Network] = (),
    ) -> None:
        self._app = app
        self._listen = listen
        self._interface = interface
        self._tls = tls
        self._door = None if tls is None else _tls_door(tls, guard, plain_networks)
        self._setting = setting
        self._guard = guard
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.host, self.port = parse_listen(listen, setting)

    @property
    def url(self) -> str:
        """The address as a URL; the port is the real one once started."""
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def start(self) -> None:
        """Return when connections are accepted. Raises AdapterUnavailable with the cure."""
        if self._tls is not None:
            await asyncio.to_thread(self._tls.prepare)
        bound = bind(self.host, parse_listen(self._listen, self._setting)[1], self._setting, self._interface)
        self.port = bound.getsockname()[1]
        self._stopping = False
        server = self._server = _Server(self._config())
        self._task = asyncio.create_task(server.serve(sockets=[bound]), name=f"http-server-{self.port}")
        serving = asyncio.create_task(server.serving.wait(), name="http-server-start")
        try:
            await asyncio.wait({self._task, serving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            serving.cancel()
        if self._task.done():
            bound.close()
            raise AdapterUnavailable(f"the server on {self._listen} did not start") from _cause(self._task)

    async def failed(self) -> None:
        """Raise AdapterUnavailable when the server ends without being asked to; never return."""
        assert self._task is not None, "failed() before start()"
        await asyncio.wait({self._task})
        if not self._stopping:
            raise AdapterUnavailable(f"the server on {self._listen} ended") from _cause(self._task)
        await asyncio.Event().wait()

    async def stop(self, deadline_s: float) -> None:
        """Stop accepting, finish what is under way, cut what is left at ``deadline_s``."""
        self._stopping = True
        server, task = self._server, self._task
        if server is None or task is None or task.done():
            return
        for listener in server.servers:
            listener.close()  # at once, not at uvicorn's next tick
        graceful_s = max(deadline_s - SHUTDOWN_MARGIN_S, 0.1)
        server.config.timeout_graceful_shutdown = graceful_s  # type: ignore[assignment]  # passed on to wait_for
        server.should_exit = True
        await asyncio.wait({task}, timeout=max(graceful_s - LAST_WORDS_S, 0))
        # Before uvicorn cancels what is left and answers 500 to it: nothing was stored, and it should come again.
        for connection in [*server.server_state.connections]:
            if isinstance(connection, DeviceProtocol):
                connection.put_off()
        await asyncio.wait({task}, timeout=SHUTDOWN_MARGIN_S + LAST_WORDS_S)
        for connection in [*server.server_state.connections, *self._guard.parting]:
            if connection.transport is not None:
                connection.transport.abort()
        if self._door is not None:
            self._door.abort()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})

    def _protocol(self, **given: Any) -> asyncio.BaseProtocol:
        """Return what serves a connection that uvicorn has accepted."""
        link = DeviceProtocol(guard=self._guard, **given)
        return link if self._door is None else self._door.protocol(link)

    def _config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            loop="none",
            http=self._protocol,  # type: ignore[arg-type]  # called like the class
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            # Malformed requests are counted, so that a scanner can't fill a card; errors are logged by faces.py.
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
        )


def _tls_door(source: TlsSource, guard: Guard, plain_networks: Sequence[Network]) -> TlsDoor:
    def note_end(reason: str, _detail: str, _peer: str) -> None:
        guard.count_refused(reason)

    return TlsDoor(
        source=source,
        handshake_timeout_s=guard.header_timeout_s,
        connections_max=guard.connections_max,
        on_end=note_end,
        plain_answer=last_words(400, "this port speaks TLS: write https://"),
        plain_networks=plain_networks,
    )


def _cause(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


def parse_listen(listen: str, setting: str) -> tuple[str, int]:
    """Return host and port of ``host:port`` or ``[ipv6]:port``."""
    host, colon, port = listen.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not bracketed):
        raise AdapterUnavailable(f"{setting} = {listen!a} is not host:port; write 127.0.0.1:8080 or [::1]:8080")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - ":8080" means every address, as everywhere


def bind(host: str, port: int, setting: str, interface: str = "") -> socket.socket:
    """Return a bound socket, IPv4 preferred where a name has both; ``::`` serves both families.

    With ``interface`` only what comes in there is served, whatever address it is sent to.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise AdapterUnavailable(f"{setting}: the host {host!a} is unknown; use an address of this machine") from error
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        keep_to_interface(bound, interface, f"{setting.partition('.')[0]}.interface")
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise AdapterUnavailable(_bind_cure(error, host, port, setting)) from error
    except AdapterUnavailable:
        bound.close()
        raise
    bound.setblocking(False)  # noqa: FBT003 - the socket's signature
    return bound


def _bind_cure(error: OSError, host: str, port: int, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken by another program (see: ss -ltnp 'sport = :{port}'); "
            f"stop it, or choose another port in {setting}"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges; choose one above 1023 in {setting}, or grant CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; choose one in {setting} (see: ip address)"
    return f"{setting}: {host}:{port} can't be bound: {error.strerror}"
