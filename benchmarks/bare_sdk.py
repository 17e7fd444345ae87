"""The bare limit of a drain: the azure SDK alone, sending ready-made messages with a window of 16; no gateway code.

Usage: ``python -m benchmarks.bare_sdk CONNECTION_STRING CA_FILE PROXY MESSAGES``. MESSAGES is a file of JSON lines as
``benchmarks.drain`` writes it: what the gateway has sent, bodies and properties, in its order. Prints a JSON line.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import socks
from azure.iot.device import Message, ProxyOptions
from azure.iot.device.aio import IoTHubDeviceClient

WINDOW = 16


async def main(connection_string: str, ca: str, proxy: str, given: Sequence[dict[str, Any]]) -> None:
    """Send every message and print how long that took, from the first send to the last acknowledgement."""
    where = urlsplit(proxy)
    client = IoTHubDeviceClient.create_from_connection_string(
        connection_string,
        server_verification_cert=ca,
        proxy_options=ProxyOptions(socks.HTTP, where.hostname, where.port),
    )
    await client.connect()
    waiting = iter([_message(one) for one in given])

    async def send() -> None:
        for message in waiting:
            await client.send_message(message)

    started, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(send() for _ in range(WINDOW)))
    print(json.dumps({"seconds": time.monotonic() - started, "cpu_s": time.process_time() - cpu}))
    await client.shutdown()


def _message(given: dict[str, Any]) -> Message:
    message = Message(
        given["body"].encode(),
        message_id=given["message_id"],
        content_type=given["content_type"],
        content_encoding=given["content_encoding"],
    )
    message.custom_properties.update(given["properties"])
    return message


if __name__ == "__main__":
    with Path(sys.argv[4]).open() as lines:
        messages = [json.loads(line) for line in lines]
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_text(), sys.argv[3], messages))
