"""Named points at which a test kills this process, to show what a crash there leaves behind.

``GATEWAY_FAILPOINT=name`` or ``name:n`` in the environment arms one point: at
its n-th pass (default 1) the process sends itself SIGKILL. Unset, a point
costs one comparison.
"""

import itertools
import os
import signal

VARIABLE = "GATEWAY_FAILPOINT"

# Read once, at import: a process is started armed or never is.
_armed_name, _, _armed_pass = os.environ.get(VARIABLE, "").partition(":")
_passes_left = itertools.count(int(_armed_pass or 1), -1)


def reached(name: str) -> None:
    """Say that the point ``name`` is passed. Does not return at the armed pass."""
    if name == _armed_name and next(_passes_left) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
