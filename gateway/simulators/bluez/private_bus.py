"""A D-Bus daemon of our own, where unmodified bleak looks for BlueZ when DBUS_SYSTEM_BUS_ADDRESS says so.

``dbus-daemon --session`` needs no policy files and no privileges; it listens where it is told.
"""

import asyncio
import socket
from pathlib import Path
from typing import BinaryIO

from gateway.errors import OperatorError

# It takes some 10 ms; a loaded machine may take its time.
START_TIMEOUT_S = 20.0
ADDRESS_VARIABLE = "DBUS_SYSTEM_BUS_ADDRESS"
PROGRAM = "dbus-daemon"
# sun_path has 108 bytes with its closing zero (unix(7)).
SOCKET_PATH_BYTES_MAX = 107


class PrivateBus:
    """One dbus-daemon on a Unix socket. The address stays through ``kill`` and ``start``."""

    def __init__(self, folder: Path, *, program: str = PROGRAM) -> None:
        self.socket = folder / "bus"
        self.address = f"unix:path={self.socket}"
        self._program = program
        self._log = folder / "bus.log"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return when the daemon listens. Raises OperatorError with the cure."""
        if len(bytes(self.socket)) > SOCKET_PATH_BYTES_MAX:
            raise OperatorError(f"{self.socket} is too long for a socket: choose a folder with a shorter path.")
        self._clear_path()
        try:
            with self._log.open("ab") as log:
                self._process = await self._spawned(log)
        except FileNotFoundError as error:
            raise OperatorError(
                f"{self._program} is not installed, and the simulated radio needs it. "
                "Debian, Ubuntu: apt-get install dbus-daemon; Fedora: dnf install dbus-daemon; Arch, Alpine: dbus."
            ) from error
        await self._listening(self._process)

    async def kill(self) -> None:
        """End the daemon as a crash would: every connection breaks."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        await process.communicate()
        self.socket.unlink(missing_ok=True)

    def _clear_path(self) -> None:
        """Remove a socket that nobody answers on: dbus-daemon does not start over one."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except FileNotFoundError:
                return
            except ConnectionRefusedError:
                self.socket.unlink()
                return
        raise OperatorError(f"a bus runs at {self.socket} already: end the other simulation, or choose another folder.")

    async def _spawned(self, log: BinaryIO) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            self._program,
            "--session",
            "--nofork",
            "--nopidfile",
            "--print-address",
            f"--address={self.address}",
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            # Ctrl-C is for us; the daemon ends with `kill`.
            start_new_session=True,
        )

    async def _listening(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        line = b""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await process.stdout.readline()
        finally:
            if not line:
                self._process = None
                if process.returncode is None:
                    process.kill()
                await process.communicate()
        if not line:
            said = self._log.read_text(encoding="utf-8", errors="replace").strip()
            raise OperatorError(f"{self._program} did not start: {said or f'exit code {process.returncode}'}")
