"""The parent of ``gateway run``: starts the gateway again when it crashes, and tells it how it ended.

Deliberately tiny and free of third-party imports: it costs a few megabytes and
has nothing that could fail. SIGTERM and SIGINT are passed on; a second one ends
at once. The child gets SIGKILL if this parent dies, so no orphan keeps the
outbox locked. Under systemd its back-off is told (gateway/service_manager.py), and
the watchdog's SIGABRT is passed on, so that the child says where it hung.

Exit codes of the child: 0 is a clean stop; 2 a mistake of the operator's that a
restart can't mend; anything else is a crash and is tried again with back-off.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

from gateway.confidential import close_to_others
from gateway.service_manager import ALIVE, ServiceManager

OPERATOR_ERROR = 2
RESTART_INITIAL_S = 0.5
RESTART_MAX_S = 30.0
STEADY_AFTER_S = 60.0
LAST_EXIT_VARIABLE = "GATEWAY_LAST_EXIT"
PR_SET_PDEATHSIG = 1  # linux/prctl.h

# Ends that only native code brings about: these make the payloads in work suspects.
NATIVE_CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT},
)


def ended_by_native_crash(last_exit: str | None) -> bool:
    """Tell whether ``GATEWAY_LAST_EXIT`` names a crash of native code, e.g. ``signal:11``."""
    if last_exit is None or not last_exit.startswith("signal:"):
        return False
    return int(last_exit.removeprefix("signal:")) in NATIVE_CRASHES


class Respawner:
    """Runs ``command`` until it ends well, by the operator's mistake, or by our signals."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None
        self._signals = 0
        self._manager = ServiceManager(os.environ)

    def run(self) -> int:
        """Return the exit code to end with."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGABRT):
            signal.signal(number, self._pass_on)
        wait_s = RESTART_INITIAL_S
        last_exit: str | None = None
        while True:
            started = time.monotonic()
            code = self._run_once(last_exit)
            if code == 0:
                self._manager.tell("STATUS=stopped")
            if code in {0, OPERATOR_ERROR}:
                return code
            if self._signals:
                return 128 - code if code < 0 else code
            if time.monotonic() - started > STEADY_AFTER_S:
                wait_s = RESTART_INITIAL_S
            last_exit = f"signal:{-code}" if code < 0 else f"exit:{code}"
            told = f"ended by {last_exit}; starting again in {wait_s:g} s"
            sys.stderr.write(f"gateway {told}\n")
            self._manager.tell(ALIVE, f"STATUS={told}")
            if not self._wait(wait_s):
                return 0
            self._manager.tell(ALIVE)
            wait_s = min(wait_s * 2, RESTART_MAX_S)

    def _run_once(self, last_exit: str | None) -> int:
        environment = {key: value for key, value in os.environ.items() if key != LAST_EXIT_VARIABLE}
        if last_exit is not None:
            environment[LAST_EXIT_VARIABLE] = last_exit
        # Its own process group: Ctrl-C reaches it through us, once. This process has one thread.
        self._child = subprocess.Popen(  # noqa: S603
            self._command,
            env=environment,
            process_group=0,
            preexec_fn=_die_with_parent,  # noqa: PLW1509
        )
        return self._child.wait()

    def _wait(self, wait_s: float) -> bool:
        """Sleep; False when a signal asked us to stop meanwhile."""
        deadline = time.monotonic() + wait_s
        while not self._signals and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
        return not self._signals

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number if self._signals == 1 else signal.SIGKILL)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    """Run the command given as arguments."""
    close_to_others()  # the environment may hold the cloud's key
    return Respawner(sys.argv[1:]).run()


if __name__ == "__main__":
    sys.exit(main())
