"""Keeps what is in this process's memory out of files and out of other processes' sight. Standard library only.

The gateway holds pictures of the site and keys of the cloud. A core dump would write them to the card, where they
outlive the process and leave with it. So none is written: neither by the limit (which a core_pattern that pipes to a
collector does not heed) nor by the kernel's flag, which also keeps other programs of the same user from reading
``/proc/PID/environ`` and memory, or attaching. Root still may: ``gcore`` and ``py-spy`` work with sudo.
"""

import ctypes
import resource

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def keep_memory_private() -> None:
    """Return when this process and what it starts leave no core dumps, and it is closed to its own user."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    close_to_others()


def close_to_others() -> None:
    """Return when this process is closed to its own user, and for that reason never dumped. An exec undoes it."""
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
