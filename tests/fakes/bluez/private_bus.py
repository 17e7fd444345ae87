"""A D-Bus daemon of the test's own, where unmodified bleak looks for BlueZ.

bleak keeps one manager per event loop, connected to one bus: ``forget_bleak`` closes and drops it, so that the next
test meets its own bus.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

START_TIMEOUT_S = 20.0
ADDRESS_VARIABLE = "DBUS_SYSTEM_BUS_ADDRESS"

needs_dbus_daemon = pytest.mark.skipif(
    shutil.which("dbus-daemon") is None, reason="missing package: dbus (for dbus-daemon)"
)


class PrivateBus:
    """One dbus-daemon on a Unix socket. The address stays through ``kill`` and ``start``."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "bus"
        self.address = f"unix:path={self.socket}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return when the daemon listens."""
        self._process = await asyncio.create_subprocess_exec(
            "dbus-daemon",
            "--session",
            "--nofork",
            "--nopidfile",
            "--print-address",
            f"--address={self.address}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await self._process.stdout.readline()
        assert line, "dbus-daemon did not start"

    async def kill(self) -> None:
        """End the daemon as a crash would: every connection breaks."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        await process.communicate()
        self.socket.unlink(missing_ok=True)


async def forget_bleak() -> None:
    """Close bleak's connection to the bus of this event loop, and forget what it and its likes remember of it."""
    import bleak_retry_connector.bleak_manager as retry_manager
    from bleak.backends.bluezdbus import manager as bleak_manager

    found = bleak_manager._global_instances.pop(asyncio.get_running_loop(), None)
    retry_manager._reset_dbus_socket_cache()
    if found is None:
        return
    if found._bus is not None:
        found._bus.disconnect()
    if found._bus_watcher_task is not None:
        await asyncio.wait({found._bus_watcher_task})


@contextlib.asynccontextmanager
async def private_bus(folder: Path) -> AsyncIterator[PrivateBus]:
    """Yield a running bus that bleak takes for the system's."""
    before = os.environ.get(ADDRESS_VARIABLE)
    bus = PrivateBus(folder)
    os.environ[ADDRESS_VARIABLE] = bus.address
    await bus.start()
    try:
        yield bus
    finally:
        await forget_bleak()
        await bus.kill()
        if before is None:
            del os.environ[ADDRESS_VARIABLE]
        else:
            os.environ[ADDRESS_VARIABLE] = before
