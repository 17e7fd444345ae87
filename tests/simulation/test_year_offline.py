"""A year with an hour of connection a month, on the real outbox, in virtual time.

Scaled down: fifty devices and a reading a day each. ``make soak`` has the whole,
a reading an hour, and more seeds (YEAR_SEEDS, YEAR_ROUNDS_PER_DAY).
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.forwarder import Forwarder
from gateway.forwarding.batch import Batch
from gateway.messages import OutboxState
from gateway.outbox import holding, removal, requests, store
from gateway.ports import CloudSession
from gateway.settings import CloudSettings, OutboxSettings, PolicyRuleSettings
from tests.fakes.virtual_time import run_in_virtual_time
from tests.simulation.year import DAY_S, Year, YearPlan

SEEDS = int(os.environ.get("YEAR_SEEDS", "1"))
WHOLE_ROUNDS_PER_DAY = int(os.environ.get("YEAR_ROUNDS_PER_DAY", "24"))
MIB = 1024 * 1024

# Fifteen hundred readings come in a month.
ROOMY = YearPlan(outbox=OutboxSettings(rows_max=10_000, bytes_max=16 * MIB), backoff_max_s=3600)
TIGHT = YearPlan(outbox=OutboxSettings(rows_max=1000, bytes_max=2 * MIB))


def rule(device: str, **sets: Any) -> PolicyRuleSettings:
    return PolicyRuleSettings(device=device, **sets)


def short(plan: YearPlan) -> YearPlan:
    return replace(plan, days=60)


HOLDS_BACK = "times to live, filters, summaries, newest first"
POLICIES = {
    "full by rows: devices are told and send again": short(TIGHT),
    "full by bytes": short(replace(TIGHT, outbox=OutboxSettings(bytes_max=MIB), text_bytes=500)),
    "evict_oldest": short(replace(TIGHT, outbox=TIGHT.outbox.model_copy(update={"when_full": "evict_oldest"}))),
    "evict_lowest_priority, weighted": short(
        replace(
            TIGHT,
            outbox=TIGHT.outbox.model_copy(update={"when_full": "evict_lowest_priority"}),
            rules=tuple(rule(f"device-{ten}*", priority=priority) for ten, priority in enumerate((0, 9, 5, 9, 0))),
            drain_order="weighted",
        )
    ),
    HOLDS_BACK: short(
        replace(
            ROOMY,
            cameras=20,
            rules=(
                rule("device-0*", min_probability=0.6, on_change=True, on_change_max_s=0, priority=3),
                rule("device-1*", min_probability=0.6, summary="besides", summary_window_s=3 * DAY_S),
                rule("device-2*", ttl_h=10 * 24),
                rule("device-3*", summary="instead", summary_window_s=2 * DAY_S),
                rule(
                    "device-4*",
                    on_change=True,
                    on_change_max_s=0,
                    on_change_of=("level",),
                    summary="instead",
                    summary_window_s=DAY_S,
                    ttl_h=20 * 24,
                ),
            ),
            drain_order="newest_first",
        )
    ),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def live(seed: int, plan: YearPlan) -> tuple[Year, OutboxState]:
    async def run(folder: Path) -> tuple[Year, OutboxState]:
        year = Year(seed, plan, folder)
        return year, await year.run()

    # In memory where there is a tmpfs: this is about rules, the disk has tests of its own.
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as name:
        return run_in_virtual_time(run(Path(name)))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_year_offline_is_drained_in_order_from_a_bounded_file(seed: int) -> None:
    year, state = live(seed, ROOMY)
    assert state.delivered_total == len(year.accepted) == 50 * 360
    assert year.refusals == 0
    assert year.repeats > 50


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", POLICIES)
def test_what_does_not_fit_is_refused_or_told(name: str) -> None:
    for seed in range(SEEDS):
        year, state = live(seed, POLICIES[name])
        match name.split(" ", maxsplit=1)[0]:
            case "full":
                assert year.refusals > 100
                assert state.delivered_total == len(year.accepted)
            case "evict_oldest" | "evict_lowest_priority,":
                assert state.evicted_total > 100
                assert year.refusals == 0
            case _:
                assert min(state.expired_total, state.filtered_total, state.summarised_total) > 100


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(3))
def test_whole_year(seed: int) -> None:
    plan = replace(ROOMY, outbox=OutboxSettings(), rounds_per_day=WHOLE_ROUNDS_PER_DAY, backoff_max_s=60)
    year, state = live(seed, plan)
    assert state.delivered_total == len(year.accepted) == 50 * 360 * WHOLE_ROUNDS_PER_DAY


# --- the simulation itself: it must catch what is wrong ---


class MarksBeforeTheAcknowledgement(Forwarder):
    async def _send(self, session: CloudSession, batch: Batch) -> None:
        self._marks.delivered(batch)
        await super()._send(session, batch)


def _tell_nobody(*_args: Any, **_parts: Any) -> None:
    pass


def test_events_that_leave_unsent_are_noticed() -> None:
    with pytest.raises(AssertionError, match="neither there nor told"):
        live(0, replace(short(ROOMY), forwarder_class=MarksBeforeTheAcknowledgement))


def test_evictions_that_nobody_is_told_of_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "bury_each", _tell_nobody)
    with pytest.raises(AssertionError, match="neither there nor told"):
        live(0, POLICIES["evict_oldest"])


@pytest.mark.parametrize(
    ("part", "broken", "noticed"),
    [
        ("has_changed", lambda *_: True, "held back"),
        ("count_in_window", _tell_nobody, "summaries count"),
        ("bury_held_back", _tell_nobody, "neither"),
    ],
)
def test_policies_that_do_other_than_their_rules_say_are_noticed(
    monkeypatch: pytest.MonkeyPatch, part: str, broken: Any, noticed: str
) -> None:
    place = store if part == "bury_held_back" else requests if part == "count_in_window" else holding
    monkeypatch.setattr(place, part, broken)
    with pytest.raises(AssertionError, match=noticed):
        live(0, replace(POLICIES[HOLDS_BACK], days=30, restarts_per_month=1))


def test_drain_out_of_order_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Year, "_cloud_settings", lambda _: CloudSettings(drain_order="newest_first", backoff_max_s=1800)
    )
    with pytest.raises(AssertionError, match="not drained in order"):
        live(0, short(ROOMY))


def test_file_without_a_cap_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "make_room", lambda *_args, **_parts: True)
    with pytest.raises(AssertionError, match="rows of 1000"):
        live(0, short(TIGHT))
