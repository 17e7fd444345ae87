"""The forwarder against a thousand seeded worlds, in virtual time.

A failure names its seed. To see it again, or to look further:
FORWARDER_FIRST_SEED=1234 FORWARDER_SEEDS=1 pytest tests/simulation
"""

import logging
import os
import traceback
from collections.abc import Callable, Iterator

import pytest
import structlog

from gateway.cloud.envelope import message_bytes
from gateway.forwarder import Forwarder
from gateway.forwarding import suspicion
from gateway.forwarding.batch import Batch
from gateway.messages import EventState
from gateway.ports import CloudSession
from tests.fakes.virtual_time import run_in_virtual_time
from tests.simulation.world import ForwarderClass, Plan, World, bad_link_plan, plan

SEEDS = int(os.environ.get("FORWARDER_SEEDS", "1000"))
FIRST_SEED = int(os.environ.get("FORWARDER_FIRST_SEED", "0"))
# In parts, so that a failure does not hide the others and none comes near the time limit of a test.
PARTS = 10


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Let no log line be rendered: they cost more than the simulation."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def seeds_of(part: int) -> range:
    return range(FIRST_SEED + part, FIRST_SEED + SEEDS, PARTS)


def run_world(seed: int, draw: Callable[[int], Plan], forwarder_class: ForwarderClass = Forwarder) -> World:
    async def run() -> World:
        world = World(seed, draw(seed), forwarder_class=forwarder_class)
        await world.run()
        return world

    return run_in_virtual_time(run())


def failing_seed(
    seeds: range, draw: Callable[[int], Plan], forwarder_class: ForwarderClass = Forwarder
) -> tuple[int, str] | None:
    """Return the first seed whose world breaks a rule, and how."""
    for seed in seeds:
        try:
            run_world(seed, draw, forwarder_class)
        except (AssertionError, ExceptionGroup):
            return seed, traceback.format_exc()
    return None


@pytest.mark.parametrize("part", range(PARTS))
def test_everything_is_accounted_for_and_nothing_is_marked_that_did_not_arrive(part: int) -> None:
    failure = failing_seed(seeds_of(part), plan)
    assert failure is None, f"FORWARDER_FIRST_SEED={failure[0]} FORWARDER_SEEDS=1\n{failure[1]}"


@pytest.mark.parametrize("part", range(PARTS))
def test_link_that_is_just_bad_never_makes_a_dead_letter(part: int) -> None:
    failure = failing_seed(range(FIRST_SEED + part, FIRST_SEED + SEEDS // 2, PARTS), bad_link_plan)
    assert failure is None, f"FORWARDER_FIRST_SEED={failure[0]} FORWARDER_SEEDS=1\n{failure[1]}"


@pytest.mark.parametrize("seed", [3, 14, 15])
def test_same_seed_is_the_same_world(seed: int) -> None:
    def story() -> list[tuple[float, str]]:
        return [(arrival.at_s, arrival.message.message_id) for arrival in run_world(seed, plan).cloud.sent]

    assert story() == story()


def test_worlds_hold_what_they_are_meant_to_try() -> None:
    worlds = [run_world(seed, plan) for seed in range(60)]

    def seen(reason: str) -> bool:
        return any(world.meter.counts("gateway_cloud_sessions_total", reason=reason) for world in worlds)

    for reason in ("refused", "reset", "ended", "no_acknowledgement", "connect_timeout", "trial_of_a_suspect"):
        assert seen(reason), reason
    dead = {event.dead_reason for world in worlds for event in world.outbox.events.values()}
    assert {"breaks_the_link", "hub_refused"} <= dead
    doubled = sum(len(arrival.sequences) for world in worlds for arrival in world.cloud.received)
    assert doubled > sum(len(world.cloud.items) for world in worlds)
    assert any(world.in_flight_peak > 1 for world in (world.cloud for world in worlds))
    assert max(message_bytes(a.message) for world in worlds for a in world.cloud.sent) > 4096


# --- the simulation itself: it must catch a forwarder that is wrong ---


class MarksBeforeTheAcknowledgement(Forwarder):
    async def _send(self, session: CloudSession, batch: Batch) -> None:
        self._marks.delivered(batch)
        await super()._send(session, batch)


class ForgetsABatchOnError(Forwarder):
    def _after_session(self) -> None:
        lost = [sequence for batch in self._flight.batches() for sequence in batch.sequences]
        super()._after_session()
        for sequence in lost:
            self._backlog.hold(sequence)


class BuriesOnALinkError(Forwarder):
    def _after_session(self) -> None:
        lost = [sequence for batch in self._flight.batches() for sequence in batch.sequences]
        super()._after_session()
        for sequence in lost:
            self._bury(sequence, "link_down")


class SendsWithoutClaims(Forwarder):
    def _acknowledged(self, batch: Batch) -> None:
        self._backlog.start_over(self._flight.batches())
        self._dispatch.poke()
        super()._acknowledged(batch)


class IgnoresSuspicion(Forwarder):
    def _after_session(self) -> None:
        super()._after_session()
        pending = (s for s, event in self._queue.events.items() if event.state is EventState.PENDING)  # type: ignore[attr-defined]
        self._suspicion.forget(tuple(pending))


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (MarksBeforeTheAcknowledgement, "the cloud has not got"),
        (ForgetsABatchOnError, "still wait"),
        (BuriesOnALinkError, "became a dead letter"),
        (SendsWithoutClaims, "twice in flight"),
        (IgnoresSuspicion, "still wait|not settled"),
    ],
)
def test_broken_forwarder_is_caught(broken: ForwarderClass, complaint: str) -> None:
    failure = failing_seed(range(100), plan, broken)
    assert failure is not None
    assert any(part in failure[1] for part in complaint.split("|")), failure[1]


def test_three_strikes_alone_would_convict_good_events_on_a_bad_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspicion, "CHANCE_MAX", 1.0)
    failure = failing_seed(range(500), bad_link_plan)
    assert failure is not None
    assert "became a dead letter" in failure[1]
