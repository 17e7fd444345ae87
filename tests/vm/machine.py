"""What this machine must have to run the check, and getting it; ``CannotRun`` says plainly what is missing."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALLER = ROOT / "tests" / "install_system_packages.sh"
# Emulation, on purpose: KVM inside a virtual machine is often there and hangs.
DEFAULT_ACCEL = "tcg"
GUEST_MEMORY_MB = 1024
# The guest's, QEMU's own, and something left for the host.
NEEDED_MEMORY_MB = GUEST_MEMORY_MB + 512
SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class CannotRun(Exception):
    """The machine cannot run this check; the text says why and what would help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    command: str
    package: str


# What starts any guest of ours.
QEMU_TOOLS = (
    Tool(command="qemu-system-x86_64", package="qemu-system-x86"),
    Tool(command="busybox", package="busybox-static"),
    Tool(command="cpio", package="cpio"),
    Tool(command="depmod", package="kmod"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The facts that decide. ``missing``: what is needed and not there."""

    system: str
    processor: str
    available_mb: int
    is_root: bool
    has_apt: bool
    missing: tuple[Tool, ...]


def this_machine(needed: Iterable[Tool]) -> Machine:
    """Look around."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return Machine(
        system=platform.system(),
        processor=platform.machine(),
        available_mb=int(found[1]) // 1024 if found else 0,
        is_root=os.geteuid() == 0,
        has_apt=bool(which("apt-get")),
        missing=tuple(tool for tool in needed if not which(tool.command)),
    )


def to_install(machine: Machine) -> tuple[Tool, ...]:
    """Return what must be installed first. Raises CannotRun where the check can't run, or that can't be."""
    if (machine.system, machine.processor) != ("Linux", "x86_64"):
        raise CannotRun(f"this is {machine.system} on {machine.processor}; the guest needs Linux on x86_64.")
    if machine.available_mb < NEEDED_MEMORY_MB:
        raise CannotRun(f"{machine.available_mb} MB of memory are available; {NEEDED_MEMORY_MB} MB are needed.")
    missing = machine.missing
    if missing and not machine.has_apt:
        raise CannotRun(f"{_named(missing)} missing, and there is no apt-get. Install them and try again.")
    if missing and not machine.is_root:
        raise CannotRun(f"{_named(missing)} missing, and this is not root. {_cure(missing)}")
    return missing


def make_ready(needed: Sequence[Tool]) -> None:
    """Install what is missing. Raises CannotRun where that is impossible, or not enough."""
    missing = to_install(this_machine(needed))
    if missing:
        pairs = [f"{tool.command}:{tool.package}" for tool in missing]
        subprocess.run(["sh", str(INSTALLER), *pairs], check=False)
    if still := this_machine(needed).missing:
        raise CannotRun(f"{_named(still)} missing, and apt-get could not install it (see above). {_cure(still)}")
    if b"ld-linux" in Path(which("busybox")).read_bytes()[:4096]:
        raise CannotRun("busybox is not the static one. As root: apt-get install busybox-static")


def which(command: str) -> str:
    """Return the command's path, those of administrators included; "" if there is none."""
    return shutil.which(command, path=SEARCH_PATH) or ""


def _named(tools: Sequence[Tool]) -> str:
    return f"{', '.join(tool.command for tool in tools)} {'is' if len(tools) == 1 else 'are'}"


def _cure(tools: Sequence[Tool]) -> str:
    return f"As root: apt-get install {' '.join(tool.package for tool in tools)}"
