"""The SDK process as the gateway sees it: started, spoken to, watched, killed.

Invariants: exec'd, never forked (a fork of a process with threads may hang); its environment is a list of ours, so
that no secret of the gateway's leaks into it; it ends when its socket does; it is never asked to stop, only killed:
it holds nothing. Owns no thread of its own beyond asyncio's waiter for the process.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

import gateway
from gateway.cloud.child_protocol import FromChild, Hello, Ping, ToChild, from_frame, to_frame
from gateway.cloud.framing import BrokenStream, FrameDecoder, encode
from gateway.errors import LinkDown

log = structlog.get_logger(__name__)

# Importing the SDK takes half a second on a desktop and ten on the smallest boards.
START_TIMEOUT_S = 60.0
# Answered by the loop that runs the SDK. Two unanswered in a row: it is frozen (seen for 35 s on silent links).
HEARTBEAT_S = 5.0
_HEARTBEATS_MISSED_MAX = 2
_END_TIMEOUT_S = 5.0
_READ_BYTES = 256 * 1024
_LOG_LINE_MAX = 500

# What TLS, name resolution and Python need. Everything else stays out: the gateway's environment may hold the
# connection string, and paho obeys an "mqtt_proxy" variable.
_ENVIRONMENT_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFigures:
    """What the process costs. ``rss_bytes`` is None where /proc is missing."""

    pid: int
    start_s: float
    rss_bytes: int | None


class SdkProcess:
    """A live child. :meth:`start` makes it; after :attr:`ended` is True it is of no use."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_message: Callable[[FromChild], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._on_message = on_message
        self._on_end = on_end
        self._hello = asyncio.Event()
        self._heard = 0
        self.ended = False
        self.end_reason = ""
        self.start_s = 0.0
        self._heartbeat: asyncio.Task[None] | None = None
        self._readers = (
            asyncio.create_task(self._read(), name="sdk-read"),
            asyncio.create_task(self._read_log(), name="sdk-log"),
        )

    @classmethod
    async def start(
        cls, *, on_message: Callable[[FromChild], None], on_end: Callable[[str], None], monotonic: Callable[[], float]
    ) -> "SdkProcess":
        """Return when the SDK is imported and obeys. ``on_end`` is called once, with a slug. Raises LinkDown."""
        started_at = monotonic()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await _execute(theirs)
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except OSError as error:
            ours.close()
            raise LinkDown("child_not_started", f"the SDK process can't be started: {error}") from error
        except asyncio.CancelledError:
            ours.close()  # which ends the child, if there is one already
            raise
        child = cls(process, reader, writer, on_message, on_end)
        await child._wait_for_hello()
        child.start_s = monotonic() - started_at
        log.info("sdk_process_started", pid=child.pid, start_s=round(child.start_s, 2))
        return child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def figures(self) -> ChildFigures:
        """Return what the process costs now."""
        return ChildFigures(pid=self.pid, start_s=self.start_s, rss_bytes=_rss_bytes(self.pid))

    def send(self, message: ToChild) -> None:
        """Queue a message; at most a window of them is under way. To an ended child: nothing happens."""
        if not self.ended:
            self._writer.write(encode(to_frame(message)))

    def kill(self, reason: str) -> None:
        """End it now with SIGKILL; its session, if any, is told. Harmless when it has ended."""
        if self.ended:
            return
        self.ended = True
        self.end_reason = reason
        if self._process.returncode is None:
            self._process.kill()
        self._writer.transport.abort()
        log.info("sdk_process_ended", pid=self.pid, reason=reason)
        self._on_end(reason)

    async def wait_ended(self) -> None:
        """Return when an ended child is gone with its descriptors and tasks, or after 5 s."""
        assert self.ended, "kill it first"
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        try:
            async with asyncio.timeout(_END_TIMEOUT_S):
                await self._process.wait()
                await asyncio.gather(*self._readers)  # to the end of both streams, so that no descriptor stays
        except TimeoutError:
            # Unkillable: stuck in the kernel on a dead disk or device. Nothing more can be done from here.
            log.warning("sdk_process_does_not_end", pid=self.pid)

    async def _wait_for_hello(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._hello.wait()
        except TimeoutError:
            self.kill("start_timeout")
        except asyncio.CancelledError:
            self.kill("cancelled")
            await self.wait_ended()
            raise
        if self.ended:
            await self.wait_ended()
            raise LinkDown("child_not_started", f"the SDK process did not start: {self.end_reason}")
        self._heartbeat = asyncio.create_task(self._watch_heartbeat(), name="sdk-heartbeat")

    async def _read(self) -> None:
        decoder = FrameDecoder()
        try:
            while data := await self._reader.read(_READ_BYTES):
                self._heard += 1
                for frame in decoder.feed(data):
                    self._handle(from_frame(frame))
        except (OSError, BrokenStream) as error:
            log.warning("sdk_process_stream_broken", pid=self.pid, error=str(error))
        self._hello.set()
        self.kill("child_died")

    def _handle(self, message: object) -> None:
        if isinstance(message, Hello):
            self._hello.set()
        elif isinstance(message, FromChild):
            self._on_message(message)

    async def _read_log(self) -> None:
        """Pass the SDK's warnings on to our log; secrets were taken out at the source."""
        assert self._process.stderr is not None
        try:
            while line := await self._process.stderr.readline():
                log.debug("sdk_log", pid=self.pid, line=line.decode(errors="replace").rstrip()[:_LOG_LINE_MAX])
        except ValueError:
            # A line beyond the reader's limit of 64 KiB: not worth a process. Reading on keeps the pipe from filling.
            while await self._process.stderr.read(_READ_BYTES):
                pass

    async def _watch_heartbeat(self) -> None:
        missed = 0
        while missed < _HEARTBEATS_MISSED_MAX:
            # Counted in frames heard, not in time: a gateway that was itself suspended must not blame its child.
            heard = self._heard
            self.send(Ping())
            await asyncio.sleep(HEARTBEAT_S)
            missed = missed + 1 if self._heard == heard else 0
        self.kill("heartbeat_missed")


async def _execute(connection: socket.socket) -> asyncio.subprocess.Process:
    # A socket is a file descriptor like any other: the child finds it as its standard input.
    # -P: no "azure" or "gateway" folder of the current directory gets in the way of the installed ones.
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-W", "ignore", "-m", "gateway.cloud.azure_iot_hub"),
        stdin=connection.fileno(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT_KEPT if name in os.environ}
    root = str(Path(gateway.__file__).resolve().parents[1])  # found even where the gateway runs from a checkout
    # Two malloc arenas rather than eight per core: the SDK's many threads would each take their own.
    return kept | {"PYTHONPATH": root, "MALLOC_ARENA_MAX": "2", "PYTHONDONTWRITEBYTECODE": "1"}


def _rss_bytes(pid: int) -> int | None:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
