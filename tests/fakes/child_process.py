"""Programs that tests start: none outlives its test for long, nor ever the process of the tests, however that ends.

The kernel kills them when the thread that started them ends (prctl(2), PR_SET_PDEATHSIG), so one thread starts them
all, which lives as long as this process: a test may start them from any thread. ``setpriv`` of util-linux sets the
signal and becomes the program; preexec_fn could hang in a process that has threads. The gateway's own processes follow
their parent by the same signal or at the end of its socket.
"""

import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

_STARTER = ThreadPoolExecutor(1, thread_name_prefix="starter")
# A shell that starts tests in the background lets them ignore Ctrl-C, which children inherit: not these.
_DIES_WITH_US = ("env", "--default-signal=INT", "setpriv", "--pdeathsig", "KILL", "--")
_STARTED: "list[subprocess.Popen[Any]]" = []


def start_child(command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
    """Return the started program; ``options`` are those of Popen. Its id is the program's own."""

    def start() -> "subprocess.Popen[Any]":
        return subprocess.Popen([*_DIES_WITH_US, *command], **options)

    started = _STARTER.submit(start).result()
    _STARTED.append(started)
    return started


@contextmanager
def ending_with_the_block() -> Iterator[None]:
    """Kill, at the end, what was started within and still runs. tests/conftest.py puts it around every test."""
    _STARTED[:] = [one for one in _STARTED if one.poll() is None]
    before = list(_STARTED)
    try:
        yield
    finally:
        for left in [one for one in _STARTED if one not in before and one.poll() is None]:
            left.kill()
            left.wait()
            if left.stdout is not None:
                left.stdout.close()
