"""The table of docs/DELIVERY.md: every run that was ever written down, added up by fault and way."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.faults.faults import FaultPlan
from tests.faults.record import RunRecord

BEGIN = "<!-- fault matrix: begin (made by `make fault-matrix`; do not edit) -->"
END = "<!-- fault matrix: end -->"
HEAD = (
    "fault",
    "way in",
    "cycles",
    "runs (seeds)",
    "acknowledged",
    "lost",
    "doubled",
    "worst recovery",
    "worst intake stall",
    "cuts in flight",
    "felt",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """All runs of a fault at a way in."""

    fault: str
    way: str
    runs: Sequence[RunRecord]

    @property
    def clean(self) -> bool:
        return all(run.clean for run in self.runs)

    def row(self, title: str) -> tuple[str, ...]:
        """Return the cells of the table."""
        runs = self.runs
        lost = sum(run.lost + run.unaccounted + run.refused for run in runs)
        failed = sum(bool(run.failure) for run in runs)
        return (
            title,
            self.way,
            f"{sum(run.cycles for run in runs):,}",
            f"{len({run.seed for run in runs}):,}",
            f"{sum(run.acknowledged for run in runs):,}",
            f"{lost}" + (f" ({failed} runs failed)" if failed else ""),
            f"{sum(run.doubled for run in runs)}",
            f"{max(run.recovery_worst_s for run in runs):.1f} s",
            f"{max(run.stall_worst_s for run in runs):.1f} s",
            _share(sum(run.cuts_in_flight for run in runs), sum(run.cuts for run in runs)),
            _share(sum(run.felt for run in runs if run.felt >= 0), sum(run.cycles for run in runs if run.felt >= 0)),
        )


def cells(records: Sequence[RunRecord], faults: Sequence[FaultPlan], ways: Sequence[str]) -> list[Cell]:
    """Return a cell for each fault and way that was run, in the order of the matrix."""

    def place(record: RunRecord) -> tuple[int, int]:
        return order[record.fault], list(ways).index(record.way)

    order = {fault.name: number for number, fault in enumerate(faults)}
    known = sorted((record for record in records if record.fault in order), key=place)
    return [
        Cell(fault=faults[key[0]].name, way=ways[key[1]], runs=list(group)) for key, group in groupby(known, key=place)
    ]


def table(records: Sequence[RunRecord], faults: Sequence[FaultPlan], ways: Sequence[str]) -> str:
    """Return the table in Markdown, with a sentence of sums before it and what is pending after it."""
    titles = {fault.name: fault.title for fault in faults}
    rows = [HEAD, ("---",) * len(HEAD), *(cell.row(titles[cell.fault]) for cell in cells(records, faults, ways))]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    waiting = [f"- {fault.title}: pending, {fault.pending}" for fault in faults if fault.pending]
    return "\n".join([_sums(records), "", *lines, *(["", *waiting] if waiting else [])])


def put_between_markers(text: str, content: str) -> str:
    """Return a document with ``content`` between the markers. Raises ValueError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def write(document: Path, records: Sequence[RunRecord], faults: Sequence[FaultPlan], ways: Sequence[str]) -> None:
    """Renew the table in a document."""
    document.write_text(put_between_markers(document.read_text(), table(records, faults, ways)))


def _sums(records: Sequence[RunRecord]) -> str:
    if not records:
        return "Nothing was run yet."
    first, last = min(run.finished_at for run in records)[:10], max(run.finished_at for run in records)[:10]
    kills = sum(run.cycles for run in records if run.fault.startswith("kill"))
    power_cuts = sum(run.cycles for run in records if run.fault.startswith("power-cut"))
    in_flight = _share(sum(run.cuts_in_flight for run in records), sum(run.cuts for run in records))
    period = first if first == last else f"{first} to {last}"
    cycles, acknowledged = sum(run.cycles for run in records), sum(run.acknowledged for run in records)
    lost, doubled = sum(run.lost for run in records), sum(run.doubled for run in records)
    return (
        f"`make fault-matrix`, {period}: {len(records):,} runs, {cycles:,} cycles, of them {kills:,} kills and "
        f"{power_cuts:,} power cuts; {acknowledged:,} acknowledged items, {lost} lost, {doubled} doubled; {in_flight} "
        "of the cuts had a submission in flight."
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"
