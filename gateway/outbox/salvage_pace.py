"""Takes out what is whole of damaged files while the gateway works: in steps, with rests, so that commits go first.

What a step is, and what it saves, is ``salvage``'s. Here is only when the next one comes.
"""

import asyncio

import structlog

from gateway.errors import DiskUnavailable
from gateway.outbox.salvage import BuryHoles, Salvage, SaveRows
from gateway.outbox.writer import Writer

log = structlog.get_logger(__name__)

# Between two steps of a salvage, so that commits go first.
SALVAGE_REST_S = 0.02
SALVAGE_RETRY_S = 30.0


async def take_out(salvage: Salvage, writer: Writer) -> None:
    """Return when all is taken out. Raises what the writer raises, except DiskUnavailable, which is waited out."""
    steps = salvage.requests()
    while (step := await asyncio.to_thread(next, steps, None)) is not None:
        while await _take_step(step, writer) and isinstance(step, BuryHoles):
            pass


async def _take_step(step: SaveRows | BuryHoles, writer: Writer) -> bool:
    """Return whether the step is to be repeated, if it is one that can be."""
    while True:
        try:
            goes_on = bool(await writer.submit(step))
        except DiskUnavailable as error:
            log.warning("outbox_salvage_waits", detail=error.detail)
            await asyncio.sleep(SALVAGE_RETRY_S)
        else:
            await asyncio.sleep(SALVAGE_REST_S)
            return goes_on
