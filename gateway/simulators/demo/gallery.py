"""The pictures of the demo's cameras: files, or fruit that a process of its own draws while the demo runs.

Drawing one takes a quarter of a second of a core. Done by the demo itself, with a camera for each way in, it would
hold up the hub stand-in, which runs in the same event loop. So cameras take what is there: a picture comes again when
the painter is slower than they are.
"""

import asyncio
import contextlib
import os
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.errors import OperatorError
from gateway.simulators.devices.pictures import pictures

# Enough that no camera is seen to repeat itself within a minute; 50 kB each.
GALLERY_MAX = 64
FIRST_TIMEOUT_S = 30.0
_LENGTH = struct.Struct(">I")
# The painter is the least urgent of all that runs here.
NICENESS = 10


class Gallery:
    """An async context manager; entered when the first picture is there."""

    def __init__(self, files: Sequence[Path], *, seed: int) -> None:
        self._files = files
        self._seed = seed
        self._pictures: list[bytes] = []
        self._painter: asyncio.subprocess.Process | None = None
        self._collecting: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._files:
            shots = pictures(self._files)
            self._pictures = [next(shots) for _ in self._files]
            return self
        command = (sys.executable, "-m", __name__, str(self._seed))
        self._painter = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(FIRST_TIMEOUT_S):
                await self._take(self._painter)
        except (TimeoutError, EOFError) as error:
            await self.close()
            raise OperatorError("no picture could be drawn: name some with --picture") from error
        self._collecting = asyncio.create_task(self._collect(self._painter), name="demo-gallery")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the painter. Safe to call twice."""
        if self._collecting is not None:
            self._collecting.cancel()
            await asyncio.wait({self._collecting})
        if self._painter is not None:
            with contextlib.suppress(ProcessLookupError):
                self._painter.kill()
            await self._painter.wait()

    def shots(self, begin: int) -> Iterator[bytes]:
        """Yield pictures for ever, never waiting: from the ``begin``-th on, round and round what there is."""
        number = begin
        while True:
            yield self._pictures[number % len(self._pictures)]
            number += 1

    async def _collect(self, painter: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(EOFError):
            while True:
                await self._take(painter)

    async def _take(self, painter: asyncio.subprocess.Process) -> None:
        assert painter.stdout is not None
        (length,) = _LENGTH.unpack(await painter.stdout.readexactly(_LENGTH.size))
        self._pictures.append(await painter.stdout.readexactly(length))


def paint(seed: int) -> None:
    """Draw a gallery and write it to standard output, each picture after its length."""
    os.nice(NICENESS)
    shots = pictures((), seed=seed)
    with contextlib.suppress(BrokenPipeError):
        for _ in range(GALLERY_MAX):
            picture = next(shots)
            sys.stdout.buffer.write(_LENGTH.pack(len(picture)) + picture)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    paint(int(sys.argv[1]))
