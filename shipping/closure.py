"""Which packages a board needs, and in which versions: by the lock file and the metadata of what is installed here."""

from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from shipping.requirements import ROOT

# Debian bookworm, whose Python is 3.11.2.
_BOOKWORM = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "python_version": "3.11",
    "python_full_version": "3.11.2",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}


def board(machine: str) -> Mapping[str, str]:
    """Return the environment of PEP 508's markers for bookworm on ``machine`` (as ``uname -m`` says)."""
    return _BOOKWORM | {"platform_machine": machine}


def closure(lines: list[str], machine: str) -> set[str]:
    """Return the canonical names of everything that these requirements bring to the board."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if _applies(requirement, machine, set()) and name not in found:
            found.add(name)
            waiting += _needs(requirement, machine)
    return found


def pinned(names: set[str], machine: str, *, root: Path = ROOT) -> dict[str, str]:
    """Return the lock file's requirement (``h11==0.16.0``) of each of ``names`` on the board, by canonical name."""
    pins = {}
    for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines():
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) in names and _applies(requirement, machine, set()):
            pins[str(canonicalize_name(requirement.name))] = f"{requirement.name}{requirement.specifier}"
    return pins


def _needs(requirement: Requirement, machine: str) -> Iterator[Requirement]:
    """Yield what a package needs, with the extras that are asked of it."""
    try:
        lines = requires(requirement.name) or []
    except PackageNotFoundError:
        return  # tflite-runtime where this machine's Python is newer than 3.11; it needs NumPy alone
    for line in lines:
        needed = Requirement(line)
        if _applies(needed, machine, requirement.extras):
            needed.marker = None
            yield needed


def _applies(requirement: Requirement, machine: str, extras: set[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({**board(machine), "extra": extra}) for extra in ("", *extras))
