"""A Debian 12 with systemd as process 1, in a container of systemd-nspawn: as fast as this machine, on its kernel.

No network but a loopback of its own. The unit's rules hold in it as on a board: systemd sets them, this machine's
kernel keeps them. What needs a kernel of its own (power, Bluetooth) is in booted_debian.py. Needs root and debootstrap.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.shipped.bare_debian import PYTHON, cached_root, layered
from tests.vm.machine import Tool, make_ready

# What makes the bare root a system, as Debian's installer does; Bluetooth as a site has it; sudo, as the docs use it.
SYSTEM = (*PYTHON, "systemd", "systemd-sysv", "udev", "dbus", "kmod", "procps", "iproute2", "sudo", "bluez")
TOOLS = (Tool(command="systemd-nspawn", package="systemd-container"),)
NSPAWN = (
    "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot", "--machine=site",
)  # fmt: skip
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
CLEAN = (
    "env",
    "-i",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL=C.UTF-8",
    "HOME=/root",
)
# systemd-nspawn(1): how it ends when the container asks to be started again.
REBOOT_ASKED = 133
BOOT_TIMEOUT_S = 120.0
RUN_TIMEOUT_S = 600.0
STICK = "/media/stick"


class ContainedDebian:
    """``run`` scripts in it, as root. What a site gets by USB stick is in /media/stick."""

    def __init__(self, root: Path, stick: Path, log: Path) -> None:
        self.root = root
        self._stick = stick
        self._log = log

    def start(self) -> Self:
        """Boot it; return when it is up."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*NSPAWN, f"--directory={self.root}", f"--bind-ro={self._stick}:{STICK}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._await_boot()
        return self

    def run(
        self, script: str, *, check: bool = True, timeout_s: float = RUN_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script inside, as root."""
        done = subprocess.run(
            ["nsenter", f"--target={self._leader()}", *NAMESPACES, *CLEAN, "sh", "-euc", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def reboot(self) -> None:
        """Reboot it as an operator does; return when it is up again."""
        self.run("systemctl reboot", check=False)  # systemd may take the shell with it
        # With --keep-unit nspawn leaves the second boot to whoever started it.
        assert self._process.wait(BOOT_TIMEOUT_S) == REBOOT_ASKED, self._end_of_log()
        self.start()

    def close(self) -> None:
        """End it at once."""
        if self._process.poll() is None:
            leader = self._leader()
            if leader:
                os.kill(int(leader), signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait(60)

    def _leader(self) -> str:
        """Return its process 1 as this machine sees it, or "" before it is there."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return next((pid for pid in children if _name(pid) == "systemd"), "")

    def _await_boot(self) -> None:
        give_up_at = time.monotonic() + BOOT_TIMEOUT_S
        while True:
            assert self._process.poll() is None, self._end_of_log()
            assert time.monotonic() < give_up_at, f"it does not boot:\n{self._end_of_log()}"
            if self._leader() and self._is_up():
                return
            time.sleep(0.2)

    def _is_up(self) -> bool:
        # The bus that is asked may not be there yet: then it fails, and is asked again.
        return "running" in self.run("systemctl is-system-running --wait", check=False).stdout

    def _end_of_log(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def contained_debian(scratch: Path, stick: Path) -> Iterator[ContainedDebian]:
    """Yield one, running; gone with the ``with``."""
    make_ready(TOOLS)
    with layered(cached_root("amd64", "systemd", SYSTEM), scratch) as root:
        (root / "etc" / "machine-id").write_text("")
        debian = ContainedDebian(root, stick, scratch.with_suffix(".log"))
        try:
            yield debian.start()
        finally:
            debian.close()
