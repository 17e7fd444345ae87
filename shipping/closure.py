"""Which packages a board needs, and in which versions: by the lock file and the metadata of what is installed here.

``python -m shipping.closure`` writes shipping/lock: for each machine what its image and its bundle install, without
resolving anything again. A test sees when they are old.
"""

import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from shipping.requirements import ROOT, requirements

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
MACHINES = ("armv7l", "aarch64", "x86_64")
# Decoders of sensors come along: half a megabyte each, and nobody at a site installs them later.
EXTRA = "ble-sensors"
# sqlite-utils names pip as a requirement, for a command that nobody runs here. pyric is GPL-3.0 and would put the whole
# image under it; what it is for, taking a wedged Bluetooth controller down and up, needs privileges that are not there.
LEFT_OUT = frozenset({"pip", "pyric"})
# No armv7l wheels: Debian's packages. pycparser is cffi's.
FROM_DEBIAN: Mapping[str, frozenset[str]] = {"armv7l": frozenset({"numpy", "pillow", "cffi", "pycparser"})}
# Source of pure Python (dbus-fast compiles itself only where it can).
AS_SOURCE: Mapping[str, frozenset[str]] = {
    "armv7l": frozenset({"paho-mqtt", "dbus-fast"}),
    "aarch64": frozenset({"paho-mqtt"}),
    "x86_64": frozenset({"paho-mqtt"}),
}


def lock(machine: str) -> tuple[list[str], list[str]]:
    """Return what is installed as wheels, and what is built from source, each pinned and in order."""
    pins = pinned(closure(requirements([EXTRA]), machine), machine)
    left_out = LEFT_OUT | FROM_DEBIAN.get(machine, frozenset())
    names = [name for name in sorted(pins) if name not in left_out]
    source = AS_SOURCE[machine]
    return [pins[name] for name in names if name not in source], [pins[name] for name in names if name in source]


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


def lock_files() -> dict[Path, str]:
    """Return the text of every file in shipping/lock."""
    files = {}
    for machine in MACHINES:
        for suffix, pins in zip(("", "-source"), lock(machine), strict=True):
            files[ROOT / "shipping" / "lock" / f"{machine}{suffix}.txt"] = "\n".join([_HEAD, *pins]) + "\n"
    return files


_HEAD = "# Written by: python -m shipping.closure"


def main() -> int:
    """Write the lock files."""
    for file, text in lock_files().items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
