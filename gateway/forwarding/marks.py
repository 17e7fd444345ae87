"""Writes down in the outbox what the cloud has answered.

Marks are grouped: acknowledgements gather for GATHER_S and while the marks
before them are being synced, so a drain costs one sync for many messages. What
gathered is written too when the forwarder is stopped. A failing disk (or a crowded
writer) leaves the marks here to be tried again; the rows stay claimed meanwhile, so that nothing is sent
twice for it. After a crash an unmarked row is sent again and the cloud dedupes.

Limit: at UNMARKED_MAX waiting marks the forwarder sends nothing more.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable, Mapping

import structlog

from gateway.errors import Unavailable
from gateway.forwarding.batch import Batch
from gateway.ports import Meter, PendingQueue
from gateway.retry import Backoff

log = structlog.get_logger(__name__)

# About 1 MB of numbers: with a broken disk there is no use in sending on.
UNMARKED_MAX = 10_000
# A full disk is freed by people or by pruning: looking twice a minute is enough.
MARK_RETRY_INITIAL_S = 0.5
MARK_RETRY_MAX_S = 30.0
# On a line acknowledgements come one by one, hundreds a second: a sync for each wears the card and delays the devices'
# commits. Killed within this time the gateway sends some messages again, as it would those still on their way.
GATHER_S = 0.05
# Of the time that a stop has; on a disk that answers a mark takes milliseconds.
LAST_MARKS_TIMEOUT_S = 1.0


class Marks:
    """Answers on their way to the disk. ``on_marked(sequences, tombstone_ids)`` is called when they are there."""

    def __init__(
        self,
        *,
        queue: PendingQueue,
        meter: Meter,
        rng: random.Random,
        on_marked: Callable[[Iterable[int], Iterable[int]], None],
    ) -> None:
        self._queue = queue
        self._meter = meter
        self._rng = rng
        self._on_marked = on_marked
        self._sequences: set[int] = set()
        self._tombstone_ids: set[int] = set()
        self._dead: dict[int, str] = {}
        self._due = asyncio.Event()
        self._written = asyncio.Event()

    def delivered(self, batch: Batch) -> None:
        """Note that the hub acknowledged ``batch``."""
        self._sequences.update(batch.sequences)
        self._tombstone_ids.update(batch.tombstone_ids)
        self._due.set()

    def dead(self, sequence: int, reason: str) -> None:
        """Note that this event will never be accepted."""
        self._dead[sequence] = reason
        self._due.set()

    async def room(self) -> None:
        """Return when few enough marks wait that sending on makes sense."""
        while len(self._sequences) + len(self._dead) >= UNMARKED_MAX:
            self._written.clear()
            await self._written.wait()

    async def run(self) -> None:
        """Write marks until cancelled, then the last. Raises what the outbox raises, but waits Unavailable out."""
        try:
            await self._write_for_ever()
        finally:
            await self._write_last()

    async def _write_for_ever(self) -> None:
        backoff = Backoff(initial_s=MARK_RETRY_INITIAL_S, max_s=MARK_RETRY_MAX_S)
        while True:
            await self._due.wait()
            await asyncio.sleep(GATHER_S)
            self._due.clear()
            try:
                await self._write_delivered()
                await self._write_dead()
                backoff = backoff.succeeded()
            except Unavailable as error:
                self._due.set()
                backoff = backoff.failed()
                log.warning("cloud_marks_wait", waiting=len(self._sequences) + len(self._dead), detail=error.detail)
                await asyncio.sleep(backoff.wait_s(self._rng.random()))

    async def _write_last(self) -> None:
        with contextlib.suppress(Unavailable, TimeoutError):  # then these are sent again
            async with asyncio.timeout(LAST_MARKS_TIMEOUT_S):
                await self._write_delivered()

    async def _write_delivered(self) -> None:
        if not self._sequences and not self._tombstone_ids:
            return
        sequences, tombstone_ids = sorted(self._sequences), sorted(self._tombstone_ids)
        await self._queue.mark_delivered(sequences, tombstone_ids)
        self._sequences.difference_update(sequences)
        self._tombstone_ids.difference_update(tombstone_ids)
        self._meter.count("gateway_cloud_events_total", len(sequences), outcome="delivered")
        self._done(sequences, tombstone_ids)

    async def _write_dead(self) -> None:
        waiting: Mapping[int, str] = dict(self._dead)
        for sequence, reason in waiting.items():
            await self._queue.mark_dead(sequence, reason)
            del self._dead[sequence]
            self._meter.count("gateway_cloud_events_total", 1, outcome="dead")
            log.error("event_dead", sequence=sequence, reason=reason)
            self._done((sequence,), ())

    def _done(self, sequences: Iterable[int], tombstone_ids: Iterable[int]) -> None:
        self._written.set()
        self._on_marked(sequences, tombstone_ids)
