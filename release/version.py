"""The version and its date: the same everywhere, and told in the changelog."""

import re
import subprocess
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path

from release.checklist import Verdict, failed, ok

_HEADING = re.compile(r"^## (?P<version>\S+) \((?P<when>[^)]+)\)$", re.MULTILINE)


def same_version(root: Path) -> Verdict:
    """Ask for one version in the project file, the package, the changelog's newest heading and the manifests."""
    heading = newest_heading(root)
    said = {
        "pyproject.toml": tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"],
        "gateway/__init__.py": _assigned(root / "gateway" / "__init__.py", "__version__"),
        "CHANGELOG.md": heading["version"],
    }
    for manifest in sorted((root / "config" / "iot-edge").glob("deployment.*.json")):
        said[manifest.name] = re.findall(r"/gateway:([\d.]+)-", manifest.read_text())[0]
    if len(set(said.values())) > 1:
        return failed(", ".join(f"{place} {version}" for place, version in said.items()))
    return ok(f"{heading['version']} in {', '.join(said)}")


def dated(root: Path, *, today: date) -> Verdict:
    """Ask for a date in the changelog, not before RELEASED_AT: clocks that are earlier than that are not believed."""
    when = newest_heading(root)["when"]
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", when):
        return failed(f"CHANGELOG.md says ({when}) where the date belongs")
    released = re.search(r"RELEASED_AT = datetime\((\d+), (\d+), (\d+)", (root / "gateway" / "__init__.py").read_text())
    if released is None:
        raise ValueError("gateway/__init__.py has no RELEASED_AT")
    at = date(*(int(part) for part in released.groups()))
    if not at <= date.fromisoformat(when) <= today:
        return failed(f"RELEASED_AT {at}, changelog {when}, today {today}: they must not go back")
    return ok(f"{when}; clocks before {at} are not believed")


def committed(root: Path) -> Verdict:
    """Ask that what would be built is what is in version control."""
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=root, check=True, capture_output=True, text=True
    ).stdout.split("\n")[:-1]
    if changed:
        return failed(f"{len(changed)} files differ from the last commit, e.g. {changed[0].strip()}")
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, check=True, capture_output=True, text=True)
    return ok(f"all is in commit {head.stdout.strip()}")


def newest_heading(root: Path) -> re.Match[str]:
    """Return the changelog's first heading of a version. Raises ValueError."""
    found = _HEADING.search((root / "CHANGELOG.md").read_text())
    if found is None:
        raise ValueError("CHANGELOG.md has no heading such as: ## 0.1.0 (2026-12-01)")
    return found


def today() -> date:
    """Return today's date, UTC."""
    return datetime.now(UTC).date()


def _assigned(file: Path, name: str) -> str:
    found = re.search(rf'^{name} = "([^"]+)"$', file.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{file.name} has no {name}")
    return found[1]
