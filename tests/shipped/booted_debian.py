"""A whole Debian 12 in QEMU: its kernel, systemd as process 1, a disk of its own, no network card; a test's hand in it.

Its power can be cut: see power.py for what the disk then has forgotten. What a site gets by USB stick is on a second
disk. Needs root, debootstrap and some 2 GB; QEMU emulates unless SYSTEMD_VM_ACCEL=kvm.
"""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.shipped.bare_debian import CACHE
from tests.shipped.power import copy_sparse, settle
from tests.vm.initrd import build_initrd
from tests.vm.kernel import Kernel, unpacked_kernel
from tests.vm.machine import DEFAULT_ACCEL, GUEST_MEMORY_MB, QEMU_TOOLS, make_ready, which

BOOTED = Path(__file__).parent / "booted"
# A disk, the port to the host, ext4's checksums. The rest udev finds in the guest.
MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "crc32c_generic", "ext4")
DISK = "3G"
ACCEL = os.environ.get("SYSTEMD_VM_ACCEL", DEFAULT_ACCEL)
BOOT_TIMEOUT_S = 600.0
RUN_TIMEOUT_S = 900.0


class BootedDebian:
    """``run`` scripts in it, as root. ``told`` is a file here, of what the guest wrote to /dev/virtio-ports/told.

    ``root`` becomes its disk; the agent and the kernel's modules are added to it.
    """

    def __init__(self, folder: Path, *, root: Path, stick: Path) -> None:
        self._folder = folder
        self._disk = folder / "disk.img"
        self._before = folder / "before.img"
        self._log = folder / "writes.log"
        self._stick = folder / "stick.img"
        self.console = folder / "console.log"
        self.told = folder / "told.txt"
        make_ready(QEMU_TOOLS)
        kernel = unpacked_kernel(CACHE / "kernel", MODULES)
        self._kernel = kernel.image
        self._initrd = build_initrd(folder, kernel, BOOTED / "init.sh", {})
        _add_agent(root, kernel)
        _make_disk(self._disk, root, DISK)
        _make_disk(self._stick, stick, "1G")

    def start(self) -> Self:
        """Switch it on; return when it answers."""
        copy_sparse(self._disk, self._before)
        self._log.write_bytes(b"")
        with self.console.with_name("qemu.log").open("a") as errors:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self._process, self._answers), name="guest")
        self._reader.start()
        self._await_boot()
        return self

    def run(
        self, script: str, *, check: bool = True, timeout_s: float = RUN_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": script, "script": script}) + "\n")
        self._process.stdin.flush()
        answer = self._answers.get(timeout=timeout_s)
        assert answer.get("id") == script, f"the guest said {answer}\n{self._console_end()}"
        done = subprocess.CompletedProcess(script, answer["code"], answer["out"], answer["err"])
        assert done.returncode == 0 or not check, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def cut_power(self) -> int:
        """Cut its power; return how many writes the disk forgot, as not flushed. ``start`` switches it on again."""
        self._end()
        return settle(self._before, self._log, self._disk)

    def close(self) -> None:
        """Switch it off, if it is on."""
        if self._process.poll() is None:
            self._end()

    def _command(self) -> list[str]:
        disk = [
            f"driver=file,node-name=disk-file,filename={self._disk}",
            f"driver=file,node-name=log-file,filename={self._log}",
            "driver=blklogwrites,node-name=disk,file=disk-file,log=log-file",
            f"driver=file,node-name=stick,filename={self._stick},read-only=on",
        ]
        return [
            which("qemu-system-x86_64"), "-accel", ACCEL, "-cpu", "max", "-smp", "2", "-m", str(GUEST_MEMORY_MB),
            "-nodefaults", "-display", "none", "-nic", "none", "-kernel", str(self._kernel), "-initrd",
            str(self._initrd), "-append", "console=ttyS0 quiet panic=-1 mitigations=off systemd.show_status=0",
            "-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console",
            *(part for node in disk for part in ("-blockdev", node)),
            "-device", "virtio-blk-pci,drive=disk", "-device", "virtio-blk-pci,drive=stick",
            "-device", "virtio-serial-pci", "-chardev", "stdio,id=agent,signal=off",
            "-device", "virtserialport,chardev=agent,name=agent",
            "-chardev", f"file,id=told,path={self.told},append=on", "-device", "virtserialport,chardev=told,name=told",
        ]  # fmt: skip

    def _read(self, process: subprocess.Popen[str], answers: "queue.Queue[dict[str, Any]]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answers.put(json.loads(line))
        answers.put({"died": True})

    def _await_boot(self) -> None:
        try:
            answer = self._answers.get(timeout=BOOT_TIMEOUT_S)
        except queue.Empty:
            raise AssertionError(f"it did not boot:\n{self._console_end()}") from None
        assert "boot" in answer, f"it did not boot: {answer}\n{self._console_end()}"

    def _console_end(self) -> str:
        logs = (self.console, self.console.with_name("qemu.log"))
        return "".join(log.read_text(errors="replace")[-3000:] for log in logs if log.exists())

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@contextlib.contextmanager
def booted_debian(machine: BootedDebian) -> Iterator[BootedDebian]:
    """Yield it, running; off with the ``with``."""
    try:
        yield machine.start()
    finally:
        machine.close()


def _add_agent(root: Path, kernel: Kernel) -> None:
    shutil.copytree(kernel.tree, root / "lib" / "modules" / kernel.version, dirs_exist_ok=True)
    shutil.copy(BOOTED / "agent.py", root / "usr" / "local" / "lib")
    shutil.copy(BOOTED / "agent.service", root / "etc" / "systemd" / "system")
    units = "systemctl enable -q agent; systemctl mask -q serial-getty@ttyS0"
    subprocess.run(["chroot", str(root), "sh", "-c", units], check=True)


def _make_disk(image: Path, content: Path, size: str) -> None:
    image.unlink(missing_ok=True)
    subprocess.run([which("mkfs.ext4"), "-q", "-d", str(content), str(image), size], check=True)
