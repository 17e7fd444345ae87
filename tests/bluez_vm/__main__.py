"""``make test-bluez``: the BLE adapter against the real bluetoothd in QEMU; a line a scenario, a true exit status.

0: all passed. 1: something failed, or the machine died before the end. 3: this machine cannot run it; it says why.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.bluez_vm.lines import Kind, Line
from tests.bluez_vm.needs import MODULES, TOOLS, bluetoothd
from tests.bluez_vm.vm import Outcome, qemu_command, run_machine
from tests.vm.initrd import build_initrd
from tests.vm.kernel import unpacked_kernel
from tests.vm.machine import DEFAULT_ACCEL, ROOT, CannotRun, make_ready

INIT = Path(__file__).parent / "init.sh"
BUILD = ROOT / "build" / "bluez-vm"
PYCACHE = BUILD / "pycache"
OUT = BUILD / "out"
PASSED, FAILED, CANNOT_RUN = 0, 1, 3
# Two to three minutes on an idle machine; one that others use may need several times as long.
LIMIT_S = 900.0
TAIL_LINES = 25


def main() -> int:
    began_s = time.monotonic()
    limit_s = float(os.environ.get("BLUEZ_VM_LIMIT_S", LIMIT_S))
    try:
        command = _prepared(os.environ.get("BLUEZ_VM_ACCEL", DEFAULT_ACCEL))
    except CannotRun as error:
        print(f"test-bluez cannot run here: {error}")
        return CANNOT_RUN
    print(f"Starting the virtual machine (at most {limit_s:g} s) ...", flush=True)
    outcome = run_machine(command, out=OUT, limit_s=limit_s, on_line=_print)
    _summarise(outcome, time.monotonic() - began_s)
    return PASSED if outcome.passed else FAILED


def _prepared(accel: str) -> list[str]:
    """Return the command that starts the machine. Raises CannotRun."""
    make_ready(TOOLS)
    kernel = unpacked_kernel(BUILD / "kernel", MODULES)
    _compile_ahead()
    environment = {
        "PROJECT": str(ROOT),
        # As it was started: resolved it would lose its virtual environment.
        "PYTHON": sys.executable,
        "PYCACHE": str(PYCACHE),
        "BLUETOOTHD": str(bluetoothd()),
        "SCENARIOS": os.environ.get("BLUEZ_VM_SCENARIOS", ""),
    }
    return qemu_command(kernel, build_initrd(BUILD, kernel, INIT, environment), OUT, accel=accel)


def _compile_ahead() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(PYCACHE)
    subprocess.run([sys.executable, "-m", "tests.bluez_vm.warm"], cwd=ROOT, env=environment, check=True)


def _print(line: Line) -> None:
    if line.kind is Kind.PROGRESS:
        print(f"  ... {line.text}", flush=True)
    elif line.kind is not Kind.END:
        print(f"{'PASS' if line.kind is Kind.PASSED else 'FAIL'} {line.seconds:6.1f} s  {line.text}", flush=True)
        if line.detail:
            print(f"       {line.detail}", flush=True)


def _summarise(outcome: Outcome, seconds: float) -> None:
    if not outcome.passed:
        for name in ("console.log", "qemu.log", "guest.log", "gateway.log"):
            _print_tail(OUT / name)
        print(f"All logs: {OUT}")
    if outcome.timed_out:
        print("The time was up; BLUEZ_VM_LIMIT_S=seconds sets another limit.")
    elif not outcome.ended:
        print("The virtual machine died before the end.")
    passed = sum(one.kind is Kind.PASSED for one in outcome.results)
    print(f"{passed} passed, {len(outcome.results) - passed} failed, {seconds:.0f} s")


def _print_tail(file: Path) -> None:
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    if lines:
        print(f"--- {file.name}")
        print("\n".join(lines[-TAIL_LINES:]))


if __name__ == "__main__":
    sys.exit(main())
