"""Acknowledgements: each after its own commit, in order of arrival, and none for what could not be taken."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from adapters.mqtt import broker_carrier
from adapters.mqtt.broker_budget import Budget
from adapters.mqtt.broker_carrier import Carrier
from adapters.mqtt.broker_link import Delivered, Reply
from adapters.mqtt.contract import Inbound, Later, Outcome, Refused
from gateway.errors import Rejected
from tests.fakes.ingest import LATER, REFUSED, FakeIngest
from tests.fakes.intake import ManualClock, RecordingMeter


@dataclass
class Answered:
    """Implements broker_carrier.Answers."""

    packet_ids: list[int] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    wakes: int = 0

    def send(self, replies: Sequence[Reply], packet_ids: Sequence[int]) -> None:
        self.replies += replies
        self.packet_ids += packet_ids

    def wake(self) -> None:
        self.wakes += 1


class Gates:
    """Holds each payload back until it is let through."""

    def __init__(self, ingest: FakeIngest) -> None:
        self._ingest = ingest
        self._open: dict[bytes, asyncio.Event] = {}

    async def take(self, inbound: Inbound) -> Outcome:
        await self._open.setdefault(inbound.payload, asyncio.Event()).wait()
        return await self._ingest.take(inbound)

    async def refuse(self, inbound: Inbound, error: Rejected, *, payload_bytes: int) -> Refused:
        return await self._ingest.refuse(inbound, error, payload_bytes=payload_bytes)

    def reply(self, inbound: Inbound, outcome: Outcome) -> tuple[str, bytes] | None:
        return self._ingest.reply(inbound, outcome)

    def notices(self) -> Sequence[tuple[str, bytes]]:
        return ()

    async def let_through(self, *payloads: bytes) -> None:
        for payload in payloads:
            self._open.setdefault(payload, asyncio.Event()).set()
        await settled()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def message(packet_id: int | None, *, retain: bool = False, stale: bool = False) -> Delivered:
    payload = b"%d" % (packet_id or 0)
    inbound = Inbound(
        client_id="gw",
        session="s",
        topic="devices/d1/readings",
        payload=payload,
        qos=int(packet_id is not None),
        packet_id=packet_id,
        retain=retain,
    )
    return Delivered(inbound, stale, len(payload))


class World:
    """A carrier with fakes around it."""

    def __init__(self, tasks: asyncio.TaskGroup, *, hold_max_s: float) -> None:
        self.ingest = FakeIngest()
        self.gates = Gates(self.ingest)
        self.answered = Answered()
        self.budget = Budget(count_max=10, bytes_max=1000)
        self.clock = ManualClock()
        self.meter = RecordingMeter()
        self.given_up: list[Later] = []

        def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
            return tasks.create_task(work, name=name)

        self.carrier = Carrier(
            ingest=self.gates,
            budget=self.budget,
            answers=self.answered,
            hold_max_s=hold_max_s,
            on_held_too_long=self.given_up.append,
            spawn=spawn,
            clock=self.clock,
            meter=self.meter,
        )

    async def arrive(self, *messages: Delivered) -> None:
        for delivered in messages:
            self.budget.take(len(delivered.inbound.payload))
        self.carrier.take(messages)
        await settled()


@asynccontextmanager
async def world(*, hold_max_s: float = 60) -> AsyncIterator[World]:
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        yield World(tasks, hold_max_s=hold_max_s)


async def test_nothing_is_acknowledged_before_its_commit() -> None:
    async with world() as it:
        await it.arrive(message(1))
        assert it.answered.packet_ids == []
        await it.gates.let_through(b"1")
        assert it.ingest.payloads == [b"1"]
        assert it.answered.packet_ids == [1]


async def test_takes_run_at_the_same_time_so_that_commits_group() -> None:
    async with world() as it:
        it.ingest.gate.clear()
        await it.arrive(message(1), message(2), message(3))
        await it.gates.let_through(b"1", b"2", b"3")
        assert it.ingest.concurrent_max == 3
        it.ingest.gate.set()


async def test_acknowledgements_leave_in_order_of_arrival() -> None:
    async with world() as it:
        await it.arrive(message(7), message(8), message(9))
        await it.gates.let_through(b"9")
        await it.gates.let_through(b"8")
        assert it.answered.packet_ids == []
        await it.gates.let_through(b"7")
        assert it.answered.packet_ids == [7, 8, 9]


async def test_refused_is_reported_and_acknowledged() -> None:
    async with world() as it:
        it.ingest.answer = REFUSED
        await it.arrive(message(1))
        await it.gates.let_through(b"1")
        assert it.answered.packet_ids == [1]
        assert b"not_an_image" in it.answered.replies[0].payload
        assert it.meter.counts("gateway_mqtt_broker_messages_total", outcome="refused") == 1


async def test_at_qos_0_there_is_a_reply_and_no_acknowledgement() -> None:
    async with world() as it:
        await it.arrive(message(None))
        await it.gates.let_through(b"0")
        assert it.answered.packet_ids == []
        assert len(it.answered.replies) == 1


async def test_what_can_not_be_taken_is_held_and_tried_again() -> None:
    async with world() as it:
        it.ingest.script = [LATER, LATER]
        await it.arrive(message(1), message(2))
        await it.gates.let_through(b"1", b"2")
        assert it.answered.packet_ids == []
        await it.carrier.idle()
        assert it.answered.packet_ids == [1, 2]
        assert len(it.ingest.taken) == 4


async def test_a_minute_that_devices_are_asked_for_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_carrier, "RETRY_MAX_S", 0.01)
    async with world() as it:
        it.ingest.script = [Later(reason="disk_unavailable", detail="full", retry_after_s=60)]
        await it.arrive(message(1))
        await it.gates.let_through(b"1")
        await it.carrier.idle()
        assert it.answered.packet_ids == [1]


async def test_what_is_held_too_long_is_given_up_unacknowledged() -> None:
    async with world(hold_max_s=5) as it:
        it.ingest.answer = LATER
        await it.arrive(message(1))
        await it.gates.let_through(b"1")
        it.clock.advance(5)
        await it.carrier.idle()
        assert it.given_up == [LATER]
        assert it.answered.packet_ids == []


async def test_after_close_what_is_held_is_abandoned_and_what_commits_is_acknowledged() -> None:
    async with world() as it:
        it.ingest.script = [Later(reason="outbox_full", detail="full", retry_after_s=3600)]
        await it.arrive(message(1), message(2))
        await it.gates.let_through(b"1")
        it.carrier.close()
        await it.gates.let_through(b"2")
        await it.carrier.idle()
        assert it.answered.packet_ids == [2]
        assert it.meter.counts("gateway_mqtt_broker_messages_total", outcome="abandoned") == 1


async def test_a_stale_retained_copy_is_acknowledged_and_not_taken() -> None:
    async with world() as it:
        await it.arrive(message(1, retain=True, stale=True))
        assert it.answered.packet_ids == [1]
        assert it.ingest.taken == []


async def test_bytes_are_given_back_when_decided_and_places_when_answered() -> None:
    async with world() as it:
        await it.arrive(message(1), message(2))
        await it.gates.let_through(b"2")
        assert it.budget.held == (2, 1)
        await it.gates.let_through(b"1")
        assert it.budget.held == (0, 0)
