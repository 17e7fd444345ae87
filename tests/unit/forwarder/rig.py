"""A forwarder between an outbox in memory and a hub in memory, in virtual time."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from gateway.forwarder import Forwarder
from gateway.forwarding.allowance import Allowance
from gateway.forwarding.status import ForwarderStatus
from gateway.messages import PRIORITY_DEFAULT, EventState
from gateway.settings import CloudSettings
from tests.fakes.intake import RecordingMeter
from tests.fakes.lossy_cloud import LossyCloud, Weather
from tests.fakes.outbox import MemoryOutbox, draft
from tests.fakes.virtual_time import VirtualClock

QUICK = Weather(latency_s=0.01)


class Rig:
    """Parts and what tests do with them. ``running()`` forwards while its block lasts."""

    def __init__(
        self, *, weather: Weather = QUICK, cloud_class: type[LossyCloud] = LossyCloud, **settings: Any
    ) -> None:
        self.settings = CloudSettings(**settings)
        self.outbox = MemoryOutbox()
        self.cloud = cloud_class(rng=random.Random(1), weather=weather)
        self.meter = RecordingMeter()
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.states: list[ForwarderStatus] = []
        self.allowance: Allowance | None = None
        self.forwarder = self.new_forwarder()
        self._committed = 0

    def new_forwarder(self) -> Forwarder:
        return Forwarder(
            queue=self.outbox,
            signal=self.outbox,
            link=self.cloud,
            settings=self.settings,
            gateway_id="site-1",
            clock=self.clock,
            meter=self.meter,
            rng=random.Random(2),
            allowance=self.allowance,
            on_state=self.states.append,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.forwarder.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def commit(self, count: int = 1, *, text_bytes: int = 10, priority: int = PRIORITY_DEFAULT) -> None:
        """Commit readings one by one."""
        for _ in range(count):
            self._committed += 1
            values = '{"t":"%s"}' % ("x" * text_bytes)
            await self.outbox.commit([draft(f"s-{self._committed}", values_json=values, priority=priority)])

    async def until(self, condition: Callable[[], bool], *, within_s: float = 600) -> None:
        """Return when ``condition()`` holds."""
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - what is waited for is in the parts under test
                await asyncio.sleep(0.01)

    async def until_delivered(self, count: int, *, within_s: float = 600) -> None:
        await self.until(lambda: len(self.in_state(EventState.DELIVERED)) >= count, within_s=within_s)

    def in_state(self, state: EventState) -> set[int]:
        return {s for s, event in self.outbox.events.items() if event.state is state}

    @property
    def batches(self) -> list[tuple[int, ...]]:
        """The sequences of each message that arrived."""
        return [arrival.sequences for arrival in self.cloud.received]

    @property
    def offered(self) -> list[tuple[int, ...]]:
        """The sequences of each message that was sent."""
        return [arrival.sequences for arrival in self.cloud.sent]
