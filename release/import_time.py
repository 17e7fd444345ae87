"""What importing costs before the first line of ours runs, beside a bare Python.

In processor time, since machines that build releases are busy; a small board is ten times slower than a desk.
"""

import resource
import statistics
import subprocess
import sys
from pathlib import Path

from release.checklist import Verdict, failed, ok

_RUNS = 7
# Of `import gateway.app` with the adapters that are on by default. Twice what 0.1.0 took: a heavy import that crept in
# costs more than that, another machine less.
RATIO_MAX = 50.0
_PROGRAMS = {
    "pass": "pass",
    "command line": "import gateway.cli",
    "gateway": "import gateway.app, adapters",
}


def measured(root: Path) -> Verdict:
    """Return the medians, and fail when the gateway's is too many times a bare Python's."""
    medians = {name: _median_s(program, root) for name, program in _PROGRAMS.items()}
    bare = medians["pass"]
    text = ", ".join(f"{name} {seconds * 1000:.0f} ms ({seconds / bare:.1f} x)" for name, seconds in medians.items())
    ratio = medians["gateway"] / bare
    return ok(text) if ratio <= RATIO_MAX else failed(f"{text}; at most {RATIO_MAX:g} x")


def _median_s(program: str, root: Path) -> float:
    return statistics.median(_once_s(program, root) for _ in range(_RUNS))


def _once_s(program: str, root: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=root, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
