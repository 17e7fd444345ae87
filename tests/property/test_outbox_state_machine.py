"""Any sequence of outbox operations, with reopening in between, against a model of plain dictionaries."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.errors import OutboxFull, SubmissionIdReused
from gateway.messages import EventState, IdReuse, Receipt
from gateway.outbox.lifecycle import may_become
from gateway.outbox.sqlite_outbox import SqliteOutbox, open_outbox
from gateway.settings import OutboxSettings
from tests.fakes.outbox import draft
from tests.fakes.outbox_parts import KeptMeter, StillClock

T = TypeVar("T")

# Fewer rows than there are steps: the file is full now and then.
ROWS_MAX = 24
EVICTED_AT_ONCE = 16
SETTLED = {EventState.DELIVERED, EventState.FILTERED, EventState.SUMMARISED}
BY_POLICY = {"evicted", "expired", "filtered", "summarised", "mixed"}
ids = st.sampled_from(["a", "a/0"])  # few: redeliveries and reuse are the point
devices = st.sampled_from(["d1", "d2"])
# Mostly sent; what is held back is told by tombstones.
fates = st.sampled_from([EventState.PENDING] * 3 + [EventState.FILTERED, EventState.SUMMARISED])
payloads = st.sampled_from(["11" * 32, "22" * 32])
# Positions, not sequences: the machine maps them onto what there is, and one beyond.
picks = st.lists(st.integers(0, 5), min_size=1, max_size=5)


@dataclass
class Modelled:
    """One event of the model. ``state`` is None once it is pruned; ``forgotten`` once its id is too."""

    device_id: str
    submission_id: str
    payload: str
    receipt: Receipt
    state: EventState | None = EventState.PENDING
    delivered_at_h: float = 0
    pruned_at_h: float = 0
    forgotten: bool = False
    priority: int = 5
    ttl_h: float | None = None
    received_at_h: float = 0


class OutboxMachine(RuleBasedStateMachine):
    when_full: Literal["refuse", "evict_oldest", "evict_lowest_priority"] = "refuse"

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.clock = StillClock()
        self.hours = 0.0
        self.model: dict[int, Modelled] = {}
        self.unannounced: dict[int, str] = {}
        self.totals: Counter[str] = Counter()
        self.outbox: SqliteOutbox

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    @initialize()
    def open(self) -> None:
        settings = OutboxSettings(delivered_keep_h=10, id_keep_days=2, rows_max=ROWS_MAX, when_full=self.when_full)
        self.outbox = open_outbox(Path(self.folder.name), settings=settings, clock=self.clock, meter=KeptMeter())
        self.run(self._start())

    async def _start(self) -> None:
        self.outbox.start()

    def teardown(self) -> None:
        self.outbox.close()
        self.loop.close()
        self.folder.cleanup()

    # --- what may happen ------------------------------------------------------------------------------

    @rule(
        device=devices,
        submission=ids,
        payload=payloads,
        count=st.integers(0, 3),
        reject=st.booleans(),
        fate=fates,
        priority=st.sampled_from([0, 5, 9]),
        ttl_h=st.sampled_from([None, None, 12.0, 40.0]),
    )
    def commit(
        self,
        device: str,
        submission: str,
        payload: str,
        count: int,
        *,
        reject: bool,
        fate: EventState = EventState.PENDING,
        priority: int = 5,
        ttl_h: float | None = None,
    ) -> None:
        policy = IdReuse.REJECT if reject else IdReuse.NEW_EVENT
        drafts = [
            draft(
                submission,
                device_id=device,
                payload_sha256=payload,
                item=n if count else None,
                on_id_reuse=policy,
                fate=fate,
                priority=priority,
                ttl_s=None if ttl_h is None else ttl_h * 3600,
            )
            for n in range(max(1, count))
        ]
        known = [
            m for m in self.model.values() if not m.forgotten and (m.device_id, m.submission_id) == (device, submission)
        ]
        same = [m for m in known if m.payload == payload]
        if known and not same and reject:
            try:
                self.run(self.outbox.commit(drafts))
            except SubmissionIdReused:
                return
            raise AssertionError("an id reused for other bytes was taken")
        if not same and not self._make_room(len(drafts)):
            try:
                self.run(self.outbox.commit(drafts))
            except OutboxFull:
                return
            raise AssertionError("more was taken than the file may hold")
        receipt = self.run(self.outbox.commit(drafts))
        if same:
            assert receipt.duplicate
            expected = {item.sequence: item for m in same for item in m.receipt.items if item.sequence in self.model}
            assert receipt.items == tuple(expected[s] for s in sorted(expected) if not self.model[s].forgotten)
            return
        assert not receipt.duplicate
        high = max(self.model, default=0)
        assert [item.sequence for item in receipt.items] == list(range(high + 1, high + 1 + len(drafts)))
        assert {item.id_reused for item in receipt.items} == {bool(known)}
        for item in receipt.items:
            self.model[item.sequence] = Modelled(
                device,
                submission,
                payload,
                receipt,
                state=fate,
                delivered_at_h=self.hours,
                priority=priority,
                ttl_h=ttl_h,
                received_at_h=self.hours,
            )
            if fate is not EventState.PENDING:
                self.unannounced[item.sequence] = fate
                self.totals[fate] += 1

    def _make_room(self, rows: int) -> bool:
        """Let go what the outbox should let go for ``rows`` more; return whether they fit."""
        while len([m for m in self.model.values() if m.state is not None]) + rows > ROWS_MAX:
            settled = [m for m in self.model.values() if m.state in SETTLED]
            for modelled in settled:
                modelled.state, modelled.pruned_at_h = None, self.hours
            if not settled and not self._evict():
                return False
        return True

    def _evict(self) -> bool:
        pending = [s for s in sorted(self.model) if self._state(s) is EventState.PENDING]
        if self.when_full == "refuse" or not pending:
            return False
        if self.when_full == "evict_lowest_priority":
            lowest = max(self.model[s].priority for s in pending)
            pending = [s for s in pending if self.model[s].priority == lowest]
        for sequence in pending[:EVICTED_AT_ONCE]:
            self._remove(sequence, "evicted")
        return True

    def _remove(self, sequence: int, reason: str) -> None:
        self.model[sequence].state, self.model[sequence].pruned_at_h = None, self.hours
        self.unannounced[sequence] = reason
        self.totals[reason] += 1

    @rule(picked=picks)
    def redeliver(self, picked: list[int]) -> None:
        for modelled in [self.model[s] for s in self._sequences(picked) if s in self.model]:
            self.commit(modelled.device_id, modelled.submission_id, modelled.payload, 0, reject=False)

    @rule(picked=picks, with_tombstones=st.booleans())
    def mark_delivered(self, picked: list[int], *, with_tombstones: bool) -> None:
        picked = self._sequences(picked)
        tombstones = self.run(self.outbox.pending_tombstones(limit=100)) if with_tombstones else ()
        self.run(self.outbox.mark_delivered(picked, [t.tombstone_id for t in tombstones]))
        if with_tombstones:
            self.unannounced.clear()
        for sequence in picked:
            self._move(sequence, EventState.DELIVERED)

    @rule(picked=picks, reason=st.sampled_from(["too_large", "malformed"]))
    def mark_dead(self, picked: list[int], reason: str) -> None:
        for sequence in self._sequences(picked):
            self.run(self.outbox.mark_dead(sequence, reason))
            if self._move(sequence, EventState.DEAD):
                self.unannounced[sequence] = reason

    @rule(picked=st.none() | picks)
    def requeue(self, picked: list[int] | None) -> None:
        picked = None if picked is None else self._sequences(picked)
        count = self.run(self.outbox.requeue(picked))
        chosen = list(self.model) if picked is None else picked
        moved = [s for s in chosen if self._state(s) is EventState.DEAD and self._move(s, EventState.PENDING)]
        for sequence in moved:
            self.unannounced.pop(sequence, None)
        assert count == len(moved)

    @rule(hours=st.sampled_from([1, 9, 30, 30, 60]))
    def prune(self, hours: int) -> None:
        self.hours += hours
        self.clock.advance(timedelta(hours=hours))
        while self.run(self.outbox.prune_step(self.clock.now())):
            pass
        for sequence, modelled in self.model.items():
            due_h = None if modelled.ttl_h is None else modelled.received_at_h + modelled.ttl_h
            if modelled.state is EventState.PENDING and due_h is not None and due_h <= self.hours:
                self._remove(sequence, "expired")
            if modelled.state in SETTLED and modelled.delivered_at_h <= self.hours - 10:
                modelled.state, modelled.pruned_at_h = None, self.hours
            if modelled.state is None and modelled.pruned_at_h <= self.hours - 48:
                modelled.forgotten = True

    @rule(picked=picks)
    def deliver_prune_and_redeliver(self, picked: list[int]) -> None:
        """Do in one what single rules seldom chain: the redelivery of a pruned event."""
        self.mark_delivered(picked, with_tombstones=False)
        self.prune(30)
        self.redeliver(picked)

    @rule(machine_too=st.booleans())
    @precondition(lambda self: bool(self.model))
    def reopen(self, *, machine_too: bool) -> None:
        self.outbox.close()
        if machine_too:
            self.clock.reboot(wall=datetime(1970, 1, 1, tzinfo=UTC))
        self.open()

    @rule(days=st.sampled_from([-20_000, -1, 1, 20_000]))
    def set_the_wall_clock(self, days: int) -> None:
        """Nothing that the model knows may change."""
        wall = self.clock.wall + timedelta(days=days)
        if 1970 <= wall.year <= 2200:
            self.clock.jump(timedelta(days=days))

    # --- what always holds ----------------------------------------------------------------------------

    @invariant()
    def figures_are_the_models(self) -> None:
        state = self.run(self.outbox.state())
        counts = Counter(m.state for m in self.model.values())
        held_back = counts[EventState.FILTERED] + counts[EventState.SUMMARISED]
        assert (state.pending, state.delivered, state.dead, state.held_back) == (
            counts[EventState.PENDING],
            counts[EventState.DELIVERED],
            counts[EventState.DEAD],
            held_back,
        )
        assert state.sequence_high == max(self.model, default=0)

    @invariant()
    def totals_account_for_every_sequence(self) -> None:
        state = self.run(self.outbox.state())
        totals = {
            EventState.DELIVERED.value: state.delivered_total,
            "evicted": state.evicted_total,
            "expired": state.expired_total,
            EventState.FILTERED.value: state.filtered_total,
            EventState.SUMMARISED.value: state.summarised_total,
        }
        assert totals == {name: self.totals[name] for name in totals}
        assert state.pending + state.dead + sum(totals.values()) == state.sequence_high

    @invariant()
    def pending_is_the_models(self) -> None:
        found: list[int] = []
        for span in self.run(self.outbox.pending_spans()):
            page = [event.sequence for event in self.run(self.outbox.pending(priority=span.priority, limit=1000))]
            assert (page, page[0], page[-1]) == (sorted(page), span.first_key, span.last_key)
            found += page
        assert sorted(found) == sorted(s for s in self.model if self._state(s) is EventState.PENDING)

    @invariant()
    def tombstones_cover_exactly_what_the_cloud_does_not_know_to_be_gone(self) -> None:
        tombstones = self.run(self.outbox.pending_tombstones(limit=1000))
        covered = [s for t in tombstones for s in range(t.first_sequence, t.last_sequence + 1)]
        assert sorted(covered) == sorted(self.unannounced)
        for t in tombstones:
            reasons = Counter(self.unannounced[s] for s in range(t.first_sequence, t.last_sequence + 1))
            assert t.reason_counts == reasons
            assert t.reason == ("mixed" if len(reasons) > 1 else next(iter(reasons)))

    @invariant()
    def tombstones_coalesce(self) -> None:
        tombstones = self.run(self.outbox.pending_tombstones(limit=1000))
        kinds = [(t, "policy" if t.reason in BY_POLICY else t.reason) for t in tombstones]
        edges = {(kind, t.last_sequence + 1) for t, kind in kinds}
        assert not edges & {(kind, t.first_sequence) for t, kind in kinds}

    def _sequences(self, positions: list[int]) -> list[int]:
        """Return sequences counted down from one beyond the highest: the newest are the likeliest to be pending."""
        return [max(self.model, default=0) + 1 - position for position in positions]

    def _state(self, sequence: int) -> EventState | None:
        return self.model[sequence].state if sequence in self.model else None

    def _move(self, sequence: int, new: EventState) -> bool:
        old = self._state(sequence)
        if old is None or not may_become(old, new):
            return False
        self.model[sequence].state = new
        self.model[sequence].delivered_at_h = self.hours
        self.totals[EventState.DELIVERED] += new is EventState.DELIVERED
        return True


class EvictsOldest(OutboxMachine):
    when_full = "evict_oldest"


class EvictsLowestPriority(OutboxMachine):
    when_full = "evict_lowest_priority"


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=40, stateful_step_count=40)
TestEvictsOldest = EvictsOldest.TestCase
TestEvictsOldest.settings = settings(max_examples=15, stateful_step_count=40)
TestEvictsLowestPriority = EvictsLowestPriority.TestCase
TestEvictsLowestPriority.settings = settings(max_examples=15, stateful_step_count=40)
