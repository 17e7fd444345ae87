"""From a publish that was read to its acknowledgement: through the ingest, a few at a time, held while it says later.

Invariants: what was read is offered to the ingest, unless its sender was cut off and sends it again; a publish is
settled once, or never (its connection is gone, or was told to come back); its bytes are given back to the budget once;
what the ingest refuses for now is tried again until ``hold_max_s``, and then the connection ends without an
acknowledgement, since the device would forget the message.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import structlog

from adapters.mqtt.codec_reasons import ReasonCode
from adapters.mqtt.connection_events import TAKEN, Ticket, Verdict
from adapters.mqtt.contract import Accepted, Inbound, Ingest, Later, Outcome, Refused
from adapters.mqtt.listener_budget import ByteBudget
from gateway.errors import Rejected
from gateway.ports import Clock, Meter

log = structlog.get_logger(__name__)

# A held message is offered again this often at most and at least: the intake answers within microseconds when it is
# full, and a device that is held up should not wait long after the room is there.
RETRY_MIN_S = 0.05
RETRY_MAX_S = 2.0


class Publisher(Protocol):
    """The connection that a publish came from."""

    @property
    def sends_again(self) -> bool:
        """Whether its connection was cut, so that what is not acknowledged comes again."""

    @property
    def patience_s(self) -> float:
        """How long the device may be held up without taking us for dead."""

    def settle(self, ticket: Ticket, verdict: Verdict) -> None:
        """Acknowledge, in order."""

    def hold(self, ticket: Ticket) -> None:
        """Stop reading from the device."""

    def resume(self, ticket: Ticket) -> None:
        """Read on, unless others are held."""

    def give_up(self, code: ReasonCode, reason: str, detail: str) -> None:
        """End the connection without an acknowledgement: the device sends again."""


class PublishDesk:
    """Works on the publishes of all connections, ``in_flight_max`` at a time, first come, first served."""

    def __init__(
        self,
        *,
        ingest: Ingest,
        in_flight_max: int,
        hold_max_s: float,
        budget: ByteBudget,
        deliver: Callable[[str, bytes], object],
        meter: Meter,
        clock: Clock,
    ) -> None:
        self._ingest = ingest
        self._gate = asyncio.Semaphore(in_flight_max)
        self._hold_max_s = hold_max_s
        self._budget = budget
        self._deliver = deliver
        self._meter = meter
        self._clock = clock
        self._tasks: dict[asyncio.Task[None], Publisher] = {}
        self._stopping = asyncio.Event()

    def open(self) -> None:
        """Take publishes (again)."""
        self._stopping.clear()

    def submit(self, publisher: Publisher, ticket: Ticket, inbound: Inbound, cost: int) -> None:
        """Start working on a publish that holds ``cost`` bytes of the budget."""
        self._begin(publisher, self._carry(publisher, ticket, inbound, cost))

    def refuse(
        self, publisher: Publisher, ticket: Ticket, inbound: Inbound, error: Rejected, payload_bytes: int
    ) -> None:
        """Note, answer and report a publish that the listener itself refuses; its payload was not kept."""
        self._begin(publisher, self._carry_refusal(publisher, ticket, inbound, error, payload_bytes))

    async def stop(self, deadline_s: float) -> None:
        """Hold nothing any more, finish what is being committed; what is not done at the deadline is cancelled."""
        self._stopping.set()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=deadline_s)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def _begin(self, publisher: Publisher, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="mqtt-publish")
        self._tasks[task] = publisher
        task.add_done_callback(self._done)

    async def _carry_refusal(
        self, publisher: Publisher, ticket: Ticket, inbound: Inbound, error: Rejected, payload_bytes: int
    ) -> None:
        refused = await self._ingest.refuse(inbound, error, payload_bytes=payload_bytes)
        self._answer(publisher, ticket, inbound, refused)

    async def _carry(self, publisher: Publisher, ticket: Ticket, inbound: Inbound, cost: int) -> None:
        try:
            outcome = await self._outcome(publisher, ticket, inbound)
        finally:
            self._budget.release(cost)
        if outcome is not None:
            self._answer(publisher, ticket, inbound, outcome)

    async def _outcome(self, publisher: Publisher, ticket: Ticket, inbound: Inbound) -> Accepted | Refused | None:
        """Return what was decided; None when the device will send it again."""
        held_until: float | None = None
        while True:
            async with self._gate:
                if inbound.qos and publisher.sends_again:
                    return None
                outcome = await self._ingest.take(inbound)
            if not isinstance(outcome, Later):
                publisher.resume(ticket)
                return outcome
            now = self._clock.monotonic()
            if held_until is None:
                held_until = now + min(self._hold_max_s, publisher.patience_s)
                publisher.hold(ticket)
                self._count(inbound, "held")
            if self._stopping.is_set() or now >= held_until:
                self._give_up(publisher, inbound, outcome)
                return None
            await self._pause(min(outcome.retry_after_s, held_until - now))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(max(seconds, RETRY_MIN_S), RETRY_MAX_S)):
                await self._stopping.wait()

    def _give_up(self, publisher: Publisher, inbound: Inbound, later: Later) -> None:
        self._count(inbound, "unavailable")
        if not self._stopping.is_set():
            publisher.give_up(ReasonCode.SERVER_BUSY, "unavailable", f"{later.reason}: {later.detail}")

    def _answer(self, publisher: Publisher, ticket: Ticket, inbound: Inbound, outcome: Accepted | Refused) -> None:
        if isinstance(outcome, Refused):
            verdict = Verdict(code=ReasonCode.PAYLOAD_FORMAT_INVALID, reason=f"{outcome.reason}: {outcome.detail}")
            self._count(inbound, "refused")
        else:
            verdict = TAKEN
            self._count(inbound, "accepted")
        publisher.settle(ticket, verdict)
        reply = self._ingest.reply(inbound, outcome)
        if reply is not None:
            self._deliver(*reply)

    def _count(self, inbound: Inbound, outcome: str) -> None:
        self._meter.count("gateway_mqtt_publishes_total", way="listener", qos=str(inbound.qos), outcome=outcome)

    def _done(self, task: asyncio.Task[None]) -> None:
        publisher = self._tasks.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Our own bug. The device is told nothing about its message, so it sends again; others are not disturbed.
            log.error("mqtt_publish_failed", exc_info=error)
            publisher.give_up(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, "internal_error", "an error of the gateway")


__all__ = ["Outcome", "PublishDesk", "Publisher"]
