"""How long the demo lasts, how fast its devices are, and what happens."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.simulators.demo.timeline import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """``folder`` is made, and holds all that the demo leaves."""

    folder: Path
    duration_s: float
    seed: int
    interval_s: float
    timeline: Sequence[Moment]
    pictures: Sequence[Path] = ()
