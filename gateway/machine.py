"""What this process may use of the machine."""

import os


def usable_cores() -> int:
    """Return the cores that this process may run on: a container's CPU set counts, the machine's number does not."""
    return len(os.sched_getaffinity(0))
