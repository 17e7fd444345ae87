"""The real cloud link, on the real SDK, against the stand-in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from gateway.clock import SystemClock
from gateway.cloud.child_link import AzureIotHubLink
from gateway.messages import CloudMessage, Command
from gateway.metrics import Metrics
from gateway.settings import CloudSettings
from tests.fakes.hub import RunningHub

CREATED_AT = datetime(2026, 3, 4, 5, 6, 7, 891000, tzinfo=UTC)


def message(number: int = 1, body: bytes = b'{"items":[]}', **properties: str) -> CloudMessage:
    return CloudMessage(message_id=f"m-{number}", body=body, properties=properties, created_at=CREATED_AT)


@asynccontextmanager
async def link_with(settings: CloudSettings, **parts: Any) -> AsyncIterator[AzureIotHubLink]:
    async def ignore(_command: Command) -> None:
        pass

    link = AzureIotHubLink(
        settings=settings,
        gateway_id="test",
        clock=SystemClock(),
        meter=parts.get("meter") or Metrics(),
        on_command=parts.get("on_command") or ignore,
        assignments=parts.get("assignments"),
    )
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def link_to(
    hub: RunningHub, *, on_command: Any = None, meter: Any = None, **changes: Any
) -> AsyncIterator[AzureIotHubLink]:
    """A link with the stand-in's settings; ``changes`` are CloudSettings."""
    async with link_with(hub.cloud_settings(**changes), on_command=on_command, meter=meter) as link:
        yield link


async def eventually(condition: Any, timeout_s: float = 10) -> None:
    """Return when ``condition()`` is true."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other threads and processes
            await asyncio.sleep(0.01)
