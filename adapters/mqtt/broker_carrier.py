"""Carries what one connection received to the ingest, and answers in order of arrival.

Takes run concurrently, so that their commits group; PUBACKs leave in the order in which the messages came, each after
its own message is on disk or refused. A message that can't be taken now is held and tried again, bounded in time; then
the connection is given up, and the broker delivers again. Lives in the event loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from adapters.mqtt.broker_budget import Budget
from adapters.mqtt.broker_link import Delivered, Reply
from adapters.mqtt.contract import Accepted, Inbound, Ingest, Later, Refused
from gateway.ports import Clock, Meter

log = structlog.get_logger(__name__)

# What the intake asks of devices (a minute, for a full disk) is not for us, who cost nothing by asking again: a
# moment's trouble must not hold the broker's queue for as long (found by the fault matrix).
RETRY_MAX_S = 2.0

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class Answers(Protocol):
    """Where answers go: the link."""

    def send(self, replies: Sequence[Reply], packet_ids: Sequence[int]) -> None:
        """Send the replies, then acknowledge."""

    def wake(self) -> None:
        """Notice that there is room."""


@dataclass(slots=True, eq=False)
class _Slot:
    """A message that came, in its place in the order. ``acknowledge`` is None while undecided."""

    packet_id: int | None
    acknowledge: bool | None = None
    replies: list[Reply] = field(default_factory=list)


class Carrier:
    """The messages of one connection. After :meth:`close` nothing is tried again; what is undecided is abandoned."""

    def __init__(
        self,
        *,
        ingest: Ingest,
        budget: Budget,
        answers: Answers,
        hold_max_s: float,
        on_held_too_long: Callable[[Later], None],
        spawn: Spawn,
        clock: Clock,
        meter: Meter,
    ) -> None:
        self._ingest = ingest
        self._budget = budget
        self._answers = answers
        self._hold_max_s = hold_max_s
        self._on_held_too_long = on_held_too_long
        self._spawn = spawn
        self._clock = clock
        self._meter = meter
        self._slots: deque[_Slot] = deque()
        self._answer_due = False
        self._closed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def take(self, batch: Sequence[Delivered]) -> None:
        """Begin on messages, in their order; their places and bytes in the budget are given back here."""
        for delivered in batch:
            inbound = delivered.inbound
            slot = _Slot(inbound.packet_id)
            self._slots.append(slot)
            self._idle.clear()
            if delivered.stale:
                log.info("mqtt_retained_copy_skipped", topic=inbound.topic, bytes=len(inbound.payload))
                self._decided(slot, len(inbound.payload), "retained_copy", acknowledge=True)
            else:
                self._spawn(self._carry(slot, delivered), f"mqtt-take-{inbound.packet_id}")

    def close(self) -> None:
        """Try nothing again: what is being committed may finish, what is held is abandoned to the broker."""
        self._closed.set()

    async def idle(self) -> None:
        """Return when every message is answered or abandoned."""
        await self._idle.wait()

    async def _carry(self, slot: _Slot, delivered: Delivered) -> None:
        inbound = delivered.inbound
        outcome: Accepted | Refused | None
        if delivered.too_large is None:
            outcome = await self._outcome(inbound)
        else:
            outcome = await self._ingest.refuse(inbound, delivered.too_large, payload_bytes=delivered.payload_bytes)
        byte_count = len(inbound.payload)
        if outcome is None:
            self._decided(slot, byte_count, "abandoned", acknowledge=False)
            return
        reply = self._ingest.reply(inbound, outcome)
        if reply is not None:
            slot.replies.append(Reply(*reply))
        told = "accepted" if isinstance(outcome, Accepted) else "refused"
        self._decided(slot, byte_count, told, acknowledge=True)

    async def _outcome(self, inbound: Inbound) -> Accepted | Refused | None:
        """Return what came of it; None when it was given up unacknowledged."""
        give_up_at = self._clock.monotonic() + self._hold_max_s
        while True:
            outcome = await self._ingest.take(inbound)
            if not isinstance(outcome, Later):
                return outcome
            left_s = give_up_at - self._clock.monotonic()
            if left_s <= 0 and not self._closed.is_set():
                self._on_held_too_long(outcome)
                return None
            await self._pause(min(outcome.retry_after_s, RETRY_MAX_S, left_s))
            if self._closed.is_set():
                return None

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return

    def _decided(self, slot: _Slot, byte_count: int, outcome: str, *, acknowledge: bool) -> None:
        self._meter.count("gateway_mqtt_broker_messages_total", outcome=outcome)
        self._budget.give_bytes(byte_count)
        slot.acknowledge = acknowledge
        if not self._answer_due:
            # What one commit decides is answered together: one wake, one write.
            self._answer_due = True
            asyncio.get_running_loop().call_soon(self._answer_in_order)

    def _answer_in_order(self) -> None:
        """Answer the longest decided beginning of the order. What is abandoned leaves a gap, for redelivery."""
        self._answer_due = False
        replies: list[Reply] = []
        packet_ids: list[int] = []
        while self._slots and self._slots[0].acknowledge is not None:
            slot = self._slots.popleft()
            self._budget.give_place()
            if slot.acknowledge:
                replies += slot.replies
                packet_ids += [] if slot.packet_id is None else [slot.packet_id]
        if replies or packet_ids:
            self._answers.send(replies, packet_ids)
        else:
            self._answers.wake()
        if not self._slots:
            self._idle.set()
