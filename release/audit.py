"""``make audit``: is any locked version known to be vulnerable? Asks OSV (osv.dev) through pip-audit.

Every line of constraints.txt is asked about, also those for other machines. Exit status: 0 nothing is known, 1
something is (it is listed), 3 the advisories could not be reached, and nothing was checked.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from release.lock import LOCK, read_lock

CLEAN, VULNERABLE, NOT_CHECKED = 0, 1, 3
TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the audit says, for people, and the exit status."""

    status: int
    text: str


def judged(report: str, trouble: str, asked: int) -> Verdict:
    """Return what pip-audit's JSON report means; without one, the last line of its ``trouble`` says why."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (trouble.strip().splitlines() or ["no answer"])[-1]
        return Verdict(
            status=NOT_CHECKED, text=f"NOT CHECKED: the advisories of osv.dev could not be reached.\n{reason}"
        )
    found = [
        f"{one['name']} {one['version']}: {vulnerability['id']}"
        f" (mended in {', '.join(vulnerability['fix_versions']) or 'no version yet'})"
        for one in packages
        for vulnerability in one.get("vulns", ())
    ]
    skipped = [f"{one['name']}: {one['skip_reason']}" for one in packages if "skip_reason" in one]
    answered = len(packages) - len(skipped)
    if answered < asked:
        missing = "\n".join(skipped)
        text = "\n".join([*found, f"NOT CHECKED: {asked - answered} of {asked} packages.", missing]).rstrip()
        return Verdict(status=VULNERABLE if found else NOT_CHECKED, text=text)
    if found:
        return Verdict(status=VULNERABLE, text="\n".join(found))
    return Verdict(status=CLEAN, text=f"{asked} packages, no vulnerability known.")


def audit(lock: Path, *, timeout_s: float = TIMEOUT_S) -> Verdict:
    """Ask about every line of ``lock``."""
    pins = [locked.pin for locked in read_lock(lock)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pins.txt"
        file.write_text("\n".join(pins) + "\n")
        command = [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(file), "--no-deps", "--disable-pip"),
            *("--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off"),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            return judged("", f"no answer within {timeout_s:g} s", len(pins))
    return judged(done.stdout, done.stderr, len(pins))


def main() -> int:
    """Audit the lock file and tell."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--lock", type=Path, default=LOCK)
    verdict = audit(parser.parse_args().lock)
    print(verdict.text)
    return verdict.status


if __name__ == "__main__":
    sys.exit(main())
