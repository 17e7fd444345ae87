"""What a run found, as one line of JSON: kept for ever, so that the table can add the runs up."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run: a fault at a way in, ``cycles`` times on one site. Seconds are the worst of the run.

    ``cuts`` counts the cycles that can cut a submission off, ``cuts_in_flight`` those that did; ``felt`` those
    in which the gateway itself shows that it met the fault (-1: not recorded). ``failure`` is empty,
    or says what went wrong that no count tells.
    """

    finished_at: str
    revision: str
    fault: str
    way: str
    seed: int
    cycles: int
    cuts: int
    cuts_in_flight: int
    acknowledged: int
    lost: int
    doubled: int
    unaccounted: int
    refused: int
    recovery_worst_s: float
    stall_worst_s: float
    duration_s: float
    felt: int = -1
    failure: str = ""

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.unaccounted or self.refused or self.failure)


def append(file: Path, record: RunRecord) -> None:
    """Add a run to a file of JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(record)) + "\n")


def read(files: Iterable[Path]) -> list[RunRecord]:
    """Return every run of these files. Raises ValueError naming the line that is not one."""
    found = []
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            try:
                found.append(RunRecord(**json.loads(line)))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{file}:{number} is not a run of the fault matrix: {error}") from error
    return found
