"""constraints.txt, the lock file: which version of which package, and where it applies."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).resolve().parents[1] / "constraints.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """One package. ``marker`` is empty where it is for every machine."""

    name: str
    version: str
    marker: str

    @property
    def pin(self) -> str:
        """``name==version``, for every machine."""
        return f"{self.name}=={self.version}"

    def is_for_here(self) -> bool:
        """Tell whether this machine and Python get it: several versions of one package may be locked."""
        return not self.marker or Marker(self.marker).evaluate()


def read_lock(path: Path = LOCK) -> tuple[Locked, ...]:
    """Return every line of the lock file. Raises ValueError for a line that is no pin."""
    return tuple(_locked(path.read_text().splitlines()))


def _locked(lines: list[str]) -> Iterator[Locked]:
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        pins = [one for one in requirement.specifier if one.operator == "=="]
        if len(pins) != 1:
            raise ValueError(f"{text} is no pin")
        name, marker = canonicalize_name(requirement.name), str(requirement.marker or "")
        yield Locked(name=name, version=pins[0].version, marker=marker)
