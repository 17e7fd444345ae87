"""The command ``python -m tests.faults``: run the matrix, write down each run, renew the table of docs/DELIVERY.md.

Exit status 0: every run that is written down was clean, and enough cuts hit a submission. 1: not so. 2: misuse.
"""

import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.fakes.gateway_process import ROOT
from tests.faults import record, report
from tests.faults.equipment import Impossible
from tests.faults.faults import FaultPlan
from tests.faults.matrix import FAULTS, WAYS
from tests.faults.record import RunRecord
from tests.faults.run import RunPlan, run

RECORDS = ROOT / "docs" / "fault-matrix"
DOCUMENT = ROOT / "docs" / "DELIVERY.md"
SEEDS = 1_000_000_000
CUTS_IN_FLIGHT_SHARE_MIN = 0.8

console = Console()


def main(
    fault: Annotated[list[str] | None, typer.Option(help="Only these faults; repeat it. Default: all.")] = None,
    way: Annotated[list[str] | None, typer.Option(help="Only these ways in; repeat it. Default: all.")] = None,
    seed: Annotated[int | None, typer.Option(help="The first seed; each further round takes the next.")] = None,
    cycles: Annotated[int, typer.Option(min=1, help="Cycles in each run.")] = 3,
    rounds: Annotated[
        int, typer.Option(min=0, help="How often to go through the matrix; 0: only judge what is recorded.")
    ] = 1,
    minutes: Annotated[float | None, typer.Option(help="Begin no run after this long.")] = None,
    records: Annotated[Path, typer.Option(help="Folder of the recorded runs.")] = RECORDS,
    workdir: Annotated[Path | None, typer.Option(help="Where sites are built. Default: the system's.")] = None,
    *,
    table: Annotated[bool, typer.Option(help="Renew the table of docs/DELIVERY.md.")] = True,
) -> None:
    """Break a loaded gateway in every way, again and again; compare what devices were told with what the cloud got."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that gateways, brokers and mounts are ended
    first_seed = random.SystemRandom().randrange(SEEDS) if seed is None else seed
    chosen = _chosen(fault, [plan.name for plan in FAULTS], "fault"), _chosen(way, list(WAYS), "way")
    give_up_at = time.monotonic() + minutes * 60 if minutes is not None else None
    for plan in _plans(*chosen, first_seed=first_seed, cycles=cycles, rounds=rounds):
        if give_up_at is not None and time.monotonic() > give_up_at:
            break
        try:
            found = _run(plan, workdir)
        except Impossible as error:
            console.print(f"not here: {plan.fault.title}, {plan.way}: {error}", markup=False)
            continue
        record.append(records / f"{found.finished_at[:7]}.jsonl", found)
    known = record.read(sorted(records.glob("*.jsonl")))
    if table:
        report.write(DOCUMENT, known, FAULTS, list(WAYS))
    raise typer.Exit(_conclude(known))


def _chosen(asked: list[str] | None, known: list[str], what: str) -> list[str]:
    if unknown := set(asked or ()) - set(known):
        raise typer.BadParameter(f"no {what} {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return [name for name in known if not asked or name in asked]


def _plans(faults: list[str], ways: list[str], *, first_seed: int, cycles: int, rounds: int) -> Iterator[RunPlan]:
    runnable = [plan for plan in FAULTS if plan.name in faults and not plan.pending]
    for number in range(rounds):
        for plan in runnable:
            for way in ways:
                yield RunPlan(fault=plan, way=way, seed=first_seed + number, cycles=cycles)


def _run(plan: RunPlan, workdir: Path | None) -> RunRecord:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"{plan.fault.title}, {plan.way}, seed {plan.seed}", total=plan.cycles)
        found = run(plan, workdir=workdir, on_cycle=lambda number: progress.update(task, completed=number))
    _tell(plan.fault, found)
    return found


def _tell(fault: FaultPlan, found: RunRecord) -> None:
    colour = "green" if found.clean else "bold red"
    console.print(
        f"[{colour}]{fault.title}, {found.way}, seed {found.seed}[/]: {found.cycles} cycles, {found.acknowledged} "
        f"acknowledged, {found.lost} lost, {found.doubled} doubled, worst recovery {found.recovery_worst_s} s, "
        f"worst stall {found.stall_worst_s} s, {found.duration_s} s"
    )
    if found.failure or found.refused or found.unaccounted:
        console.print(
            f"  refused {found.refused}, sequences unaccounted for {found.unaccounted}; {found.failure}", markup=False
        )


def _conclude(known: list[RunRecord]) -> int:
    bad = [found for found in known if not found.clean]
    for found in bad:
        console.print(f"not clean: --fault {found.fault} --way {found.way} --seed {found.seed} --cycles {found.cycles}")
    cuts, in_flight = sum(found.cuts for found in known), sum(found.cuts_in_flight for found in known)
    if cuts and in_flight < CUTS_IN_FLIGHT_SHARE_MIN * cuts:
        console.print(f"only {in_flight} of {cuts} cuts had a submission in flight: the load shows too little")
        return 1
    return 1 if bad else 0


if __name__ == "__main__":
    typer.run(main)
