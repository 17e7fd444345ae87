"""One seeded world: a site that commits, a forwarder, an uplink that misbehaves; and the rules it must keep.

Everything random comes from the seed; time is virtual. The rules are checked
while it runs (an AssertionError ends the run) and at the end.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.errors import DiskUnavailable
from gateway.forwarder import Forwarder
from gateway.messages import EventState, PendingEvent, Tombstone
from gateway.settings import CloudSettings
from tests.fakes.intake import RecordingMeter
from tests.fakes.lossy_cloud import FAIR, Arrival, Fate, LossyCloud, Weather
from tests.fakes.outbox import MemoryOutbox, draft
from tests.fakes.virtual_time import VirtualClock

ForwarderClass = type[Forwarder]

# A good event that waits while the cloud is well again: within this it is there, whatever poison is about.
GOOD_WITHIN_S = 600.0
# Poison is proven and told within this, while the site goes on committing.
ALL_WITHIN_S = 3600.0
HEARTBEAT_S = 5.0
OURS = "evicted"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will happen, drawn from a seed."""

    settings: CloudSettings
    weathers: tuple[Weather, ...]
    chaos_s: float
    events: int
    poison: dict[int, Fate]
    too_large: frozenset[int]
    crashes: int
    disk_failures: int
    evictions: int
    priorities: tuple[int, ...]  # one is drawn for each event
    held_back: float  # the share that a policy filters or summarises


def plan(seed: int) -> Plan:
    """Draw a world with everything that can go wrong in it."""
    rng = random.Random(seed)
    events = rng.randint(5, 60)
    numbers = range(1, events + 1)
    poison = rng.sample(numbers, rng.choice((0, 0, 1, 1, 2, 3)))
    too_large = rng.sample(numbers, 1) if rng.random() < 0.02 else []
    return Plan(
        settings=_settings(rng),
        weathers=tuple(_weather(rng) for _ in range(rng.randint(1, 4))),
        chaos_s=rng.uniform(20, 300),
        events=events,
        poison={sequence: rng.choice(list(Fate)) for sequence in poison},
        too_large=frozenset(too_large),
        crashes=rng.choice((0, 1, 3)),
        disk_failures=rng.choice((0, 0, 2)),
        evictions=rng.choice((0, 0, 3)),
        priorities=rng.choice(((5,), (0, 5, 5, 5), (9, 5, 0), tuple(range(10)))),
        held_back=rng.choice((0.0, 0.0, 0.5)),
    )


def _settings(rng: random.Random) -> CloudSettings:
    return CloudSettings(
        batch_bytes_max=rng.choice((1024, 2048, 4096)),
        drain_batch_bytes_max=rng.choice((1024, 4096, 16_384)),
        drain_order=rng.choice(("weighted", "newest_first", "oldest_first")),
        batch_wait_s=rng.choice((0, 1, 10)),
        messages_per_s_max=rng.choice((5, 50, 1000)),
        window=rng.choice((1, 2, 8, 16)),
        send_timeout_s=12,
        connect_timeout_s=30,
        backoff_initial_s=1,
        backoff_max_s=rng.choice((5, 60)),
    )


def _weather(rng: random.Random) -> Weather:
    def often(*chances: float) -> float:
        return rng.choice((0.0, 0.0, *chances))

    return Weather(
        refuses_connect=often(0.3, 0.9),
        hangs_connect=often(0.2),
        drops_before=often(0.1, 0.5, 1.0),
        drops_after=often(0.1, 0.5),
        never_acknowledges=often(0.05),
        goes_half_open=often(0.05),
        acknowledges_late=often(0.2),
        hangs_on_close=often(0.2),
        session_s=rng.choice((0.0, 0.0, 5.0, 30.0)),
        latency_s=rng.choice((0.01, 0.2, 2.0)),
    )


class WatchedOutbox(MemoryOutbox):
    """Fails the run when a row leaves that the cloud does not have, or a good one is set aside."""

    def __init__(self, cloud: LossyCloud, rng: random.Random) -> None:
        super().__init__()
        self._cloud = cloud
        self._rng = rng
        self.may_die: set[int] = set()

    async def pending(self, **which: Any) -> tuple[PendingEvent, ...]:
        self._check_reading()
        page = await super().pending(**which)
        await self._take_time()
        return page

    async def pending_among(self, sequences: Sequence[int]) -> tuple[PendingEvent, ...]:
        self._check_reading()
        found = await super().pending_among(sequences)
        await self._take_time()
        return found

    async def pending_tombstones(self, *, limit: int) -> tuple[Tombstone, ...]:
        self._check_reading()
        return await super().pending_tombstones(limit=limit)

    def _check_reading(self) -> None:
        if self.disk_fails and self._rng.random() < 0.3:
            raise DiskUnavailable("a page can't be read")

    async def mark_delivered(self, sequences: Sequence[int], tombstone_ids: Sequence[int]) -> None:
        unknown = [s for s in sequences if s not in self._cloud.sequences]
        assert not unknown, f"marked delivered, but the cloud has not got {unknown}"
        for tombstone_id in tombstone_ids:
            tombstone = self.tombstones.get(tombstone_id)
            told = tombstone is None or (tombstone.first_sequence, tombstone.last_sequence) in self._cloud.tombstones
            assert told, f"tombstone {tombstone} marked delivered, but the cloud has not got it"
        await self._take_time()
        await super().mark_delivered(sequences, tombstone_ids)
        await self._take_time()

    async def mark_dead(self, sequence: int, reason: str) -> None:
        assert reason == OURS or sequence in self.may_die, f"good event {sequence} became a dead letter: {reason}"
        await self._take_time()
        await super().mark_dead(sequence, reason)

    async def _take_time(self) -> None:
        await asyncio.sleep(self._rng.random() * 0.01)


class WatchedCloud(LossyCloud):
    """Fails the run when the messages break a rule."""

    def __init__(self, *, rng: random.Random, window: int) -> None:
        super().__init__(rng=rng)
        self._window = window
        self._watermark = 0
        self.sent_ever: set[int] = set()
        self._offered: dict[int, int] = {}  # priority → the highest sequence that was ever sent
        self.keeps_order_of: Callable[[int], int] | None = None
        self._contents: dict[str, tuple[object, object]] = {}

    def offered(self, arrival: Arrival) -> None:
        """Check a message at the moment when it is sent."""
        assert len(self.in_flight) <= self._window, f"{len(self.in_flight)} in flight, window {self._window}"
        flying = [s for other in self.in_flight for s in other.sequences]
        assert len(flying) == len(set(flying)), f"twice in flight: {sorted(flying)}"
        high = arrival.body["sequence_high"]
        assert high >= self._watermark, f"the watermark went back from {self._watermark} to {high}"
        assert high >= max(arrival.sequences, default=0), "the watermark is below an item"
        self._watermark = high
        content = (arrival.sequences, str(arrival.body["tombstones"]))
        before = self._contents.setdefault(arrival.message.message_id, content)
        assert before == content, f"message id {arrival.message.message_id} repeats with another batch"
        self._check_order(arrival.sequences)

    def _check_order(self, sequences: Sequence[int]) -> None:
        """Sent for the first time, an event comes after all that were sent before it of its priority."""
        if self.keeps_order_of is None:
            return
        for sequence in sequences:
            priority = self.keeps_order_of(sequence)
            if sequence not in self.sent_ever:
                high = self._offered.get(priority, 0)
                assert sequence > high, f"{sequence} is sent after {high}, both of priority {priority}"
                self._offered[priority] = sequence
            self.sent_ever.add(sequence)


class World:
    """One run."""

    def __init__(self, seed: int, plan: Plan, *, forwarder_class: ForwarderClass = Forwarder) -> None:
        self._rng = random.Random(seed + 1_000_003)
        self.plan = plan
        self.meter = RecordingMeter()
        self.cloud = WatchedCloud(rng=self._rng, window=plan.settings.window)
        self.cloud.poison = dict(plan.poison)
        self.outbox = WatchedOutbox(self.cloud, self._rng)
        self.outbox.may_die = {*plan.poison, *plan.too_large}
        if plan.settings.drain_order == "oldest_first":
            self.cloud.keeps_order_of = lambda sequence: self.outbox.events[sequence].priority
        self.clock = VirtualClock(asyncio.get_running_loop())
        self._forwarder_class = forwarder_class
        self._broken: list[BaseException] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Chaos, then fair weather until everything is accounted for. Raises AssertionError."""
        self._start_forwarder()
        async with asyncio.TaskGroup() as chaos:
            chaos.create_task(self._commit_events())
            chaos.create_task(self._change_weather())
            chaos.create_task(self._at_random_times(self.plan.crashes, self._crash))
            chaos.create_task(self._at_random_times(self.plan.disk_failures, self._fail_disk))
            chaos.create_task(self._at_random_times(self.plan.evictions, self._evict_or_requeue))
        self.cloud.weather = FAIR
        self.cloud.kick()
        await self._settle()
        await self._stop_forwarder()

    # --- chaos ---

    async def _commit_events(self) -> None:
        gap_s = self.plan.chaos_s / self.plan.events
        for sequence in range(1, self.plan.events + 1):
            await self._commit(sequence)
            if self._rng.random() < 0.5:
                await asyncio.sleep(2 * gap_s * self._rng.random())

    async def _commit(self, sequence: int) -> None:
        values = json.dumps({"t": sequence})
        if sequence in self.plan.too_large:
            values = json.dumps({"t": "x" * 250_000})
        while True:
            priority = self._rng.choice(self.plan.priorities)
            fate = EventState.PENDING
            if self._rng.random() < self.plan.held_back and sequence not in self.outbox.may_die:
                fate = self._rng.choice((EventState.FILTERED, EventState.SUMMARISED))
            try:
                await self.outbox.commit([draft(f"s-{sequence}", values_json=values, priority=priority, fate=fate)])
            except DiskUnavailable:
                await asyncio.sleep(1)
            else:
                return

    async def _change_weather(self) -> None:
        for weather in self.plan.weathers:
            self.cloud.weather = weather
            await asyncio.sleep(self.plan.chaos_s / len(self.plan.weathers))

    async def _at_random_times(self, times: int, act: Callable[[], Awaitable[None]]) -> None:
        for _ in range(times):
            await asyncio.sleep(self._rng.random() * self.plan.chaos_s / times)
            await act()

    async def _crash(self) -> None:
        await self._stop_forwarder()
        self._start_forwarder()

    async def _fail_disk(self) -> None:
        self.outbox.disk_fails = True
        await asyncio.sleep(self._rng.random() * 10)
        self.outbox.disk_fails = False

    async def _evict_or_requeue(self) -> None:
        try:
            if self._rng.random() < 0.5:
                # They come back under their old sequences, and out of order.
                self.cloud.sent_ever.update(s for s, e in self.outbox.events.items() if e.state is EventState.DEAD)
                await self.outbox.requeue()
            elif pending := await self.outbox.pending(limit=3):
                await self.outbox.mark_dead(self._rng.choice(pending).sequence, OURS)
        except DiskUnavailable:
            return

    # --- the forwarder ---

    def _start_forwarder(self) -> None:
        forwarder = self._forwarder_class(
            queue=self.outbox,
            signal=self.outbox,
            link=self.cloud,
            settings=self.plan.settings,
            gateway_id="site-1",
            clock=self.clock,
            meter=self.meter,
            rng=self._rng,
        )
        self._task = asyncio.create_task(forwarder.run(), name="forwarder")

    async def _stop_forwarder(self) -> None:
        assert self._task is not None
        began_s = self.clock.monotonic()
        self._task.cancel()
        await asyncio.wait([self._task])
        took_s = self.clock.monotonic() - began_s
        assert took_s <= 6.1, f"stopping took {took_s:.1f} s"
        if not self._task.cancelled():
            self._task.result()
        self.cloud.current = None

    # --- the end ---

    async def _settle(self) -> None:
        """Wait until everything is accounted for, while the site goes on committing."""
        began_s = self.clock.monotonic()
        good = {s for s, event in self.outbox.events.items() if event.state is EventState.PENDING}
        good -= self.outbox.may_die
        sequence = self.plan.events
        while not self._is_settled():
            waited_s = self.clock.monotonic() - began_s
            assert waited_s < ALL_WITHIN_S, f"not settled: {self._unaccounted()}"
            late = {} if waited_s < GOOD_WITHIN_S else good - self.cloud.sequences - self.cloud.buried
            assert not late, f"good events still wait: {late}"
            sequence += 1
            await self._commit(sequence)
            await asyncio.sleep(HEARTBEAT_S)
            self._check_alive()

    def _check_alive(self) -> None:
        assert self._task is not None
        if self._task.done():
            self._task.result()

    def _is_settled(self) -> bool:
        return not self._unaccounted() and not self.outbox.tombstones and not self._pending()

    def _pending(self) -> set[int]:
        return {s for s, event in self.outbox.events.items() if event.state is EventState.PENDING}

    def _unaccounted(self) -> set[int]:
        return set(self.outbox.events) - self.cloud.sequences - self.cloud.buried


def bad_link_plan(seed: int) -> Plan:
    """Draw a world without poison whose link is bad for long, alone or by turns with good times."""
    rng = random.Random(seed)
    loss = rng.choice((0.05, 0.2, 0.4, 0.6, 0.8))
    bad = rng.choice(
        (
            Weather(drops_before=loss),
            Weather(drops_after=loss),
            Weather(drops_before=loss / 2, drops_after=loss / 2, refuses_connect=loss),
            Weather(kicks_after=rng.randint(1, 6)),
            Weather(session_s=rng.choice((0.05, 0.2, 1.0, 5.0)), latency_s=0.1),
            Weather(never_acknowledges=loss / 2),
            Weather(goes_half_open=loss / 2),
            Weather(acknowledges_late=loss),
        )
    )
    return replace(
        plan(seed),
        weathers=(bad,) if rng.random() < 0.6 else (bad, FAIR) * rng.randint(5, 40),
        chaos_s=1500.0,
        events=60,
        poison={},
        too_large=frozenset(),
        crashes=0,
    )
