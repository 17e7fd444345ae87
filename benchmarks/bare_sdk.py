"""The bare limit of a drain: the azure SDK alone, sending ready-made bodies with a window of 16; no gateway code.

Usage: ``python -m benchmarks.bare_sdk CONNECTION_STRING CA_FILE PROXY BODIES`` (a JSON list). Prints a JSON line.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import socks
from azure.iot.device import Message, ProxyOptions
from azure.iot.device.aio import IoTHubDeviceClient

WINDOW = 16


async def main(connection_string: str, ca: str, proxy: str, bodies: list[str]) -> None:
    """Send every body and print how long that took, from the first to the last acknowledgement."""
    where = urlsplit(proxy)
    client = IoTHubDeviceClient.create_from_connection_string(
        connection_string,
        server_verification_cert=ca,
        proxy_options=ProxyOptions(socks.HTTP, where.hostname, where.port),
    )
    await client.connect()
    waiting = iter(bodies)

    async def send() -> None:
        for body in waiting:
            message = Message(body, content_type="application/json", content_encoding="utf-8")
            await client.send_message(message)

    started = time.monotonic()
    await asyncio.gather(*(send() for _ in range(WINDOW)))
    print(json.dumps({"seconds": time.monotonic() - started}))
    await client.shutdown()


if __name__ == "__main__":
    asyncio.run(
        main(sys.argv[1], Path(sys.argv[2]).read_text(), sys.argv[3], json.loads(Path(sys.argv[4]).read_text()))
    )
