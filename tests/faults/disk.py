"""A disk of the site's own: ext4 in an image file, that can lose power, fill up, fall out, or turn read-only.

Needs root (loop mounts). What a copy of the image lacks is what was never synced: pages that only the kernel had. What
it can't show is a disk that loses writes it has acknowledged to the kernel without a flush (its own volatile cache).
ext4 itself confirms an fsync and loses it when its journal is aborted at that very moment: a bare loop of pwrite and
fdatasync lost its last confirmed write in 2 of 40 trials with EXT4_IOC_SHUTDOWN and in 2 of 60 with trigger_fs_error
(Linux 6.18). So ``remove`` and ``fail`` are for a gateway that is frozen outside of any fsync.

Never leaves a mount behind: unmounting is tried for a while, then done lazily.
"""

import contextlib
import fcntl
import filecmp
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.equipment import Impossible

IMAGE_BYTES = 96 * 1024 * 1024
UNMOUNT_PATIENCE_S = 10.0
SNAPSHOT_TRIES = 20
# linux/fs/ext4/ext4.h: _IOR('X', 125, __u32), and the flag for "at once, without flushing the journal".
_EXT4_IOC_SHUTDOWN = 0x8004587D
_EXT4_GOING_FLAGS_NOLOGFLUSH = 2


class Disk:
    """Mounted at ``mounted`` while it is in. Built by :func:`disk`."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "disk.img"
        self.mounted = folder / "disk"
        self._ballast = self.mounted / "ballast"

    def make(self) -> None:
        """Make a new file system and mount it. Raises Impossible."""
        with self.image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        # No blocks reserved for root, as whom this runs: full must mean full.
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self.image))
        self.mounted.mkdir()
        self.mount()

    def mount(self) -> None:
        """Mount the image; ext4 replays its journal. An error of the file system makes it read-only, as on cards."""
        # A loop device of its own each time: on one that exists mount would find the old, failed file system again.
        device = _run("losetup", "--find", "--show", str(self.image)).strip()
        try:
            _run("mount", "-o", "errors=remount-ro", device, str(self.mounted))
        finally:
            _run("losetup", "--detach", device)  # takes effect when the last user is gone

    def unmount(self) -> None:
        """Return when the mount is gone from the tree."""
        give_up_at = time.monotonic() + UNMOUNT_PATIENCE_S
        while os.path.ismount(self.mounted):
            busy = subprocess.run(_command("umount", str(self.mounted)), capture_output=True, text=True, check=False)
            if busy.returncode and time.monotonic() > give_up_at:
                _run("umount", "--lazy", str(self.mounted))
            elif busy.returncode:
                time.sleep(0.05)

    def snapshot(self, copy: Path) -> None:
        """Copy the image as it is at one moment. Writers must be frozen; ext4's own write-back may still run."""
        for _ in range(SNAPSHOT_TRIES):
            _run("cp", "--sparse=always", str(self.image), str(copy))
            if filecmp.cmp(self.image, copy, shallow=False):
                return
        raise Impossible(f"the image changed during each of {SNAPSHOT_TRIES} copies")

    def replace(self, copy: Path) -> None:
        """Put another image in place of this one: what was on it when the power went."""
        self.unmount()
        copy.replace(self.image)
        self.mount()

    def remove(self) -> None:
        """Take the card out while it is in use: every access fails from now on, what was not synced is gone."""
        descriptor = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", _EXT4_GOING_FLAGS_NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def reseat(self) -> None:
        """Put the card back, under the feet of those who still hold files of its former life."""
        _run("umount", "--lazy", str(self.mounted))
        self.mount()

    def fail(self) -> None:
        """Let ext4 find an error: it makes itself read-only, as it does on a worn card."""
        device = Path(f"/sys/dev/block/{os.major(self._device)}:{os.minor(self._device)}").resolve().name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("fault matrix")

    def fill(self) -> None:
        """Leave no free block."""
        descriptor = os.open(self._ballast, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            _take_all(descriptor)
        finally:
            os.close(descriptor)

    def empty(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _device(self) -> int:
        return self.mounted.stat().st_dev


def _take_all(descriptor: int) -> None:
    taken, step = 0, IMAGE_BYTES
    while step >= 4096:
        try:
            os.posix_fallocate(descriptor, taken, step)
        except OSError:
            step //= 2
        else:
            taken += step


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """Yield a mounted disk. Raises Impossible."""
    made = Disk(folder)
    try:
        made.make()
        yield made
    finally:
        with contextlib.suppress(Impossible):
            made.unmount()


def _command(program: str, *arguments: str) -> list[str]:
    """Return the command with its path: an ordinary user's PATH lacks sbin."""
    for folder in ("/usr/sbin", "/sbin", "/usr/bin", "/bin"):
        if Path(folder, program).exists():
            return [str(Path(folder, program)), *arguments]
    raise Impossible(f"missing package: e2fsprogs or mount (for {program})")


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run(_command(program, *arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Impossible(f"{program}: {done.stderr.strip()}")
    return done.stdout
