"""What was sent and is not answered yet.

Owns the window and the age that the watchdog looks at. The SDK's ``connected``
is not believed: silence is measured here (facts: a reset during writes leaves
a client that says connected and never acknowledges again).
"""

import asyncio

from gateway.forwarding.batch import Batch


class Flight:
    """The messages of one session between sending and answer."""

    def __init__(self) -> None:
        self._batches: dict[str, Batch] = {}
        self._quiet_since_s = 0.0
        self._landed = asyncio.Event()
        self._launched = asyncio.Event()

    def __len__(self) -> int:
        return len(self._batches)

    def launch(self, batch: Batch, *, now_s: float) -> None:
        """Note that ``batch`` is on its way."""
        if not self._batches:
            self._quiet_since_s = now_s
        self._batches[batch.message.message_id] = batch
        self._launched.set()

    def land(self, batch: Batch, *, now_s: float) -> None:
        """Note that ``batch`` was answered: the session lives."""
        del self._batches[batch.message.message_id]
        self._quiet_since_s = now_s
        self._landed.set()
        if not self._batches:
            self._launched.clear()

    def batches(self) -> tuple[Batch, ...]:
        """Return what is unanswered, oldest first."""
        return tuple(self._batches.values())

    def silence_s(self, now_s: float) -> float:
        """Return how long something has been waiting without any answer; 0 if nothing waits."""
        return now_s - self._quiet_since_s if self._batches else 0.0

    async def room(self, window: int) -> None:
        """Return when fewer than ``window`` are in flight."""
        while len(self._batches) >= window:
            self._landed.clear()
            await self._landed.wait()

    async def busy(self) -> None:
        """Return when something is in flight."""
        await self._launched.wait()
