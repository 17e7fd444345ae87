"""Prints what pip installs: the pinned requirements of pyproject.toml's project, or the constraints for a machine.

Runs on Debian's bare Python 3.11, inside image builds, before anything is installed: standard library only.
Usage: requirements.py requirements EXTRA... | requirements.py constraints WITHOUT...
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def requirements(extras: list[str], *, root: Path = ROOT) -> list[str]:
    """Return the project's requirements, with those of ``extras``; an extra that names others of ours is opened."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = list(project["dependencies"])
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{project['name']}\[(\w[\w-]*)\]", line)
            found += requirements([own[1]], root=root)[len(project["dependencies"]) :] if own else [line]
    return found


def constraints(without: list[str], *, root: Path = ROOT) -> list[str]:
    """Return the lock file's lines without those packages, which come from Debian."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if (name := _NAME.match(line)) is None or name[0] not in without]


def main() -> int:
    """Print one line a requirement."""
    what, *names = sys.argv[1:]
    chosen = {"requirements": requirements, "constraints": constraints}[what](names)
    sys.stdout.write("\n".join(chosen) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
