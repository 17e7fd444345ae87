"""Posts readings that are numbered, and says which of them were acknowledged; ends when nobody answers any more.

Usage: ``python -m benchmarks.numbered_client HOST:PORT PATH CLIENTS SECONDS FIRST``; ``{device}`` in PATH is the
client's own. Prints a JSON line: the numbers that were answered with 200, and the median latency in ms. What had been
sent and was not answered is not in it: nobody promised anything about it.
"""

import asyncio
import contextlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator


class _Clients:
    """What the clients of one run share."""

    def __init__(self, where: str, path: str, until: float, numbers: Iterator[int]) -> None:
        self.acknowledged: list[int] = []
        self.latencies_ms: list[float] = []
        self._where, self._path, self._until, self._numbers = where, path, until, numbers

    async def run(self, device: str) -> None:
        """Post one reading after the other over one connection."""
        host, _, port = self._where.rpartition(":")
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(host, int(port))
            while (started := time.monotonic()) < self._until:
                number = next(self._numbers)
                writer.write(self._request(device, number))
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
                if head.startswith(b"HTTP/1.1 200"):
                    self.acknowledged.append(number)
                    self.latencies_ms.append((time.monotonic() - started) * 1000)
            writer.close()

    def _request(self, device: str, number: int) -> bytes:
        body = json.dumps({"device": device, "n": number}).encode()
        head = f"POST {self._path.replace('{device}', device)} HTTP/1.1\r\nHost: {self._where}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def _main(where: str, path: str, clients: int, seconds: float, first: int) -> None:
    shared = _Clients(where, path, time.monotonic() + seconds, itertools.count(first))
    await asyncio.gather(*(shared.run(f"device-{number}") for number in range(clients)))
    median_ms = statistics.median(shared.latencies_ms) if shared.latencies_ms else None
    print(json.dumps({"acknowledged": shared.acknowledged, "median_ms": median_ms}))


if __name__ == "__main__":
    where, path, clients, seconds, first = sys.argv[1:]
    asyncio.run(_main(where, path, int(clients), float(seconds), int(first)))
