"""Runs a part for ever, with back-off between its failures, or declares it fatal.

The only place with a broad ``except``: a part that fails in a way nobody
foresaw is logged with its traceback and started again; what must not run on
after an unknown error (the outbox) is not supervised here but ends the process.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from gateway.errors import GatewayError
from gateway.ports import Adapter, Clock

log = structlog.get_logger(__name__)

RESTART_INITIAL_S = 1.0
RESTART_MAX_S = 30.0
# A part that ran this long had recovered: its next failure starts from the shortest wait again.
STEADY_AFTER_S = 60.0


async def keep_running(part: str, run: Callable[[], Awaitable[None]], *, clock: Clock, rng: random.Random) -> None:
    """Await ``run()`` again and again; never returns. Cancelling cancels the part."""
    wait_max_s = RESTART_INITIAL_S
    while True:
        started = clock.monotonic()
        try:
            await run()
            log.error("part_ended", part=part)
        except GatewayError as error:
            log.warning("part_failed", part=part, error=str(error))
        except Exception:
            log.exception("part_crashed", part=part)
        if clock.monotonic() - started > STEADY_AFTER_S:
            wait_max_s = RESTART_INITIAL_S
        wait_s = wait_max_s * (0.5 + rng.random() / 2)
        log.info("part_restarts", part=part, wait_s=round(wait_s, 1))
        await asyncio.sleep(wait_s)
        wait_max_s = min(wait_max_s * 2, RESTART_MAX_S)


async def serve_adapter(adapter: Adapter, *, on_started: Callable[[], None], stop_deadline_s: float) -> None:
    """Start an adapter and watch it; raises what broke it, after stopping it."""
    try:
        await adapter.start()
        on_started()
        await adapter.failed()
    finally:
        await asyncio.shield(adapter.stop(stop_deadline_s))
