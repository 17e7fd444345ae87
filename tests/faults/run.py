"""One run: a fault, a way in, a seed, and so many cycles on one site; in the end the ledger is compared."""

import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.fakes.gateway_process import ROOT
from tests.faults.faults import Cycle, FaultPlan
from tests.faults.ledger import Verdict
from tests.faults.matrix import WAYS
from tests.faults.record import RunRecord
from tests.faults.site import Broken, Site, SitePlan, site


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What to do. The same plan makes the same choices; what the machine does meanwhile differs."""

    fault: FaultPlan
    way: str
    seed: int
    cycles: int

    @property
    def name(self) -> str:
        return f"{self.fault.name}/{self.way}/{self.seed}"


@dataclass(kw_only=True)
class _Tally:
    cycles: list[Cycle] = field(default_factory=list)
    verdict: Verdict = field(default_factory=lambda: Verdict(acknowledged=0, lost=0, doubled=0, unaccounted=0))
    refused: int = 0
    stall_worst_s: float = 0.0
    failure: str = ""


def run(plan: RunPlan, *, workdir: Path | None = None, on_cycle: Callable[[int], None] = lambda _: None) -> RunRecord:
    """Return what the run found, failures included. What it had on disk is kept when it failed.

    Raises Impossible where this machine can't do what the fault needs.
    """
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=workdir))
    tally = _Tally()
    fault = plan.fault
    wanted = SitePlan(
        way=WAYS[plan.way],
        run=plan.name,
        needs=fault.needs,
        environment=fault.environment,
        reasons=fault.reasons,
    )
    with _kept_if(lambda: not _record(plan, tally, duration_s=0).clean, folder):
        with site(folder, wanted) as built:
            try:
                _work(plan, built, tally, on_cycle)
            except (Broken, AssertionError, OSError, sqlite3.Error, subprocess.SubprocessError) as error:
                tally.failure = f"{error} (kept: {folder.name})"
            tally.stall_worst_s, tally.refused = built.ledger.stall_worst_s, len(built.ledger.refused)
        return _record(plan, tally, duration_s=time.monotonic() - started)


@contextmanager
def _kept_if(wanted: Callable[[], bool], folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        if not wanted():
            shutil.rmtree(folder)


def _work(plan: RunPlan, built: Site, tally: _Tally, on_cycle: Callable[[int], None]) -> None:
    assert plan.fault.make is not None, f"{plan.fault.name} is pending: {plan.fault.pending}"
    fault, rng = plan.fault.make(), random.Random(f"{plan.fault.name}/{plan.way}/{plan.seed}")
    built.start()
    built.way.resume()
    built.ledger.load_begins()
    built.wait_for_acknowledgements(what="after the first start")
    for number in range(plan.cycles):
        tally.cycles.append(fault.cycle(built, rng))
        on_cycle(number + 1)
    built.settle()
    tally.verdict = built.drain()
    if plan.fault.recount is not None:
        plan.fault.recount(built)
    built.check_disk(built.ledger.snapshot())
    built.stop()


def _record(plan: RunPlan, tally: _Tally, *, duration_s: float) -> RunRecord:
    cuts = [cycle.cut_in_flight for cycle in tally.cycles if cycle.cut_in_flight is not None]
    return RunRecord(
        finished_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        revision=_revision(),
        fault=plan.fault.name,
        way=plan.way,
        seed=plan.seed,
        cycles=len(tally.cycles),
        cuts=len(cuts),
        cuts_in_flight=sum(cuts),
        felt=sum(cycle.felt for cycle in tally.cycles),
        acknowledged=tally.verdict.acknowledged,
        lost=tally.verdict.lost,
        doubled=tally.verdict.doubled,
        unaccounted=tally.verdict.unaccounted,
        refused=tally.refused,
        recovery_worst_s=round(max((cycle.recovery_s for cycle in tally.cycles), default=0.0), 2),
        stall_worst_s=round(tally.stall_worst_s, 2),
        duration_s=round(duration_s, 1),
        failure=tally.failure,
    )


def _revision() -> str:
    """Return the short name of the commit that was tested; empty outside a repository."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()
