"""What the project says it needs: pyproject.toml, with the extras that are asked for."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def requirements(extras: list[str], *, root: Path = ROOT) -> list[str]:
    """Return the project's requirements, with those of ``extras``; an extra that names others of ours is opened."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = list(project["dependencies"])
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{project['name']}\[(\w[\w-]*)\]", line)
            found += requirements([own[1]], root=root)[len(project["dependencies"]) :] if own else [line]
    return found
