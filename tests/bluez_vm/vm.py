"""One run of the virtual machine: started, listened to, ended in time whatever it does."""

import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bluez_vm.lines import Kind, Line, parsed
from tests.vm.kernel import Kernel
from tests.vm.machine import DEFAULT_ACCEL, GUEST_MEMORY_MB, which

KILL_AFTER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the guest told. ``ended``: it told everything."""

    results: tuple[Line, ...]
    ended: bool
    timed_out: bool

    @property
    def passed(self) -> bool:
        return self.ended and bool(self.results) and all(one.kind is Kind.PASSED for one in self.results)


def qemu_command(kernel: Kernel, initrd: Path, out: Path, *, accel: str = DEFAULT_ACCEL) -> list[str]:
    """Return how to start it. It may write to ``out``; everything else of the host it can only read; no network."""
    share = "security_model=none,multidevs=remap"
    return [
        which("qemu-system-x86_64"), "-accel", accel, "-cpu", "max", "-smp", "2", "-m", str(GUEST_MEMORY_MB),
        "-nodefaults", "-display", "none", "-no-reboot", "-kernel", str(kernel.image), "-initrd", str(initrd),
        "-append", "console=ttyS0 quiet panic=-1 mitigations=off",
        "-serial", f"file:{out / 'console.log'}", "-serial", "stdio",
        "-virtfs", f"local,path=/,mount_tag=host,readonly=on,{share}",
        "-virtfs", f"local,path={out},mount_tag=out,{share}",
    ]  # fmt: skip


def run_machine(
    command: Sequence[str], *, out: Path, limit_s: float, on_line: Callable[[Line], None] = lambda _: None
) -> Outcome:
    """Return when the guest has told all, has died, or the time is up; it is gone then. ``out`` is emptied first."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    timed_out = threading.Event()
    with (out / "qemu.log").open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True, errors="replace"
        )

    def time_is_up() -> None:
        timed_out.set()
        process.kill()

    watch = threading.Timer(limit_s, time_is_up)
    watch.start()
    told: list[Line] = []
    try:
        for line in _lines(process):
            told.append(line)
            on_line(line)
            # What the machine does from here on, 9p errors as it is switched off included, changes no result.
            if line.kind is Kind.END:
                break
    finally:
        watch.cancel()
        _end(process)
    results = tuple(one for one in told if one.kind in {Kind.PASSED, Kind.FAILED})
    ended = any(one.kind is Kind.END for one in told)
    return Outcome(results=results, ended=ended, timed_out=timed_out.is_set() and not ended)


def _lines(process: subprocess.Popen[str]) -> Iterator[Line]:
    assert process.stdout is not None
    for text in process.stdout:
        line = parsed(text)
        if line is not None:
            yield line


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    process.stdout.close()
