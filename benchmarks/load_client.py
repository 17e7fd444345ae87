"""Posts one body again and again over keep-alive connections; a process of its own, so that its CPU is not ours.

Usage: ``python -m benchmarks.load_client HOST:PORT PATH CLIENTS SECONDS BODYFILE [CONTENT_TYPE]``.
Prints a JSON line: answers with 200, others, median and 99th percentile of the latency in ms.
"""

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path


async def _client(host: str, port: int, request: bytes, until: float, latencies: list[float]) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    bad = 0
    while (started := time.monotonic()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        if head.startswith(b"HTTP/1.1 200"):
            latencies.append((time.monotonic() - started) * 1000)
        else:
            bad += 1
            await asyncio.sleep(0.05)
    writer.close()
    return bad


async def _main(where: str, path: str, clients: int, seconds: float, body: bytes, content_type: str) -> None:
    host, _, port = where.rpartition(":")
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {where}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    latencies: list[float] = []
    until = time.monotonic() + seconds
    request = head.encode() + body
    bad = await asyncio.gather(*(_client(host, int(port), request, until, latencies) for _ in range(clients)))
    latencies.sort()
    print(
        json.dumps(
            {
                "ok": len(latencies),
                "other": sum(bad),
                "median_ms": statistics.median(latencies) if latencies else None,
                "p99_ms": latencies[int(len(latencies) * 0.99)] if latencies else None,
            }
        )
    )


if __name__ == "__main__":
    where, path, clients, seconds, body_file, *rest = sys.argv[1:]
    asyncio.run(
        _main(
            where,
            path,
            int(clients),
            float(seconds),
            Path(body_file).read_bytes(),
            rest[0] if rest else "application/octet-stream",
        )
    )
