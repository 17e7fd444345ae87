"""Runs a benchmark module in a process of its own and reads its JSON line."""

import json
import subprocess
import sys
from typing import Any

from benchmarks.figure import ROOT


def run_json(module: str, *arguments: str) -> dict[str, Any]:
    """Return the object that ``python -m module arguments`` prints last."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def median(rounds: list[dict[str, Any]], key: str) -> float:
    """Return the median of one key over rounds."""
    return float(sorted(entry[key] for entry in rounds)[len(rounds) // 2])
