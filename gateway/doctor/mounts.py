"""Which file system a folder is on, and whether it keeps what it has synced. Pure, but for reading mountinfo."""

import re
from dataclasses import dataclass
from pathlib import Path

from gateway.doctor.finding import Finding, fail, ok, warn

MOUNTINFO = Path("/proc/self/mountinfo")
CHECK = "file system"
# What each kind of file system means for what is promised, and the cure.
_TROUBLES: tuple[tuple[frozenset[str], str, str], ...] = (
    (
        frozenset({"tmpfs", "ramfs"}),
        "memory, a power cut takes everything that was acknowledged",
        "set gateway.data_dir to a folder on a disk",
    ),
    (
        frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "afs", "fuse.sshfs", "virtiofs"}),
        "a share; SQLite's WAL needs a local disk",
        "set gateway.data_dir to a folder on a local disk",
    ),
    (
        frozenset({"overlay", "aufs", "fuse-overlayfs", "squashfs"}),
        "a container's own layer, which goes when the container is made anew",
        "mount a volume there: docker run -v gateway-data:/data, with gateway.data_dir = /data",
    ),
    (
        frozenset({"vfat", "exfat", "msdos", "fuseblk", "ntfs", "ntfs3", "ext2"}),
        "without a journal, a power cut can damage it",
        "use ext4, f2fs, btrfs or xfs for gateway.data_dir",
    ),
)
# Options with which a sync returns before the data is safe.
LYING = frozenset({"nobarrier", "barrier=0", "volatile"})
_OCTAL = re.compile(r"\\([0-7]{3})")  # proc_pid_mountinfo(5): a blank in a path is \040


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of mountinfo: where, what, and the options of the mount and of the file system."""

    point: str
    kind: str
    source: str
    options: frozenset[str]


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Return the mounts of a mountinfo file (proc_pid_mountinfo(5)); lines that can't be read are left out."""
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        ours, theirs = left.split(" "), right.split(" ")
        if separator and len(ours) >= 6 and len(theirs) >= 3:
            options = frozenset([*ours[5].split(","), *theirs[2].split(",")])
            found.append(Mount(point=_unescaped(ours[4]), kind=theirs[0], source=theirs[1], options=options))
    return tuple(found)


def mount_of(folder: Path, mounts: tuple[Mount, ...]) -> Mount | None:
    """Return the mount that ``folder`` (absolute, resolved) is on: the innermost, of equal ones the last."""
    places = {str(place) for place in (folder, *folder.parents)}
    holding = [mount for mount in mounts if mount.point in places]
    return max(reversed(holding), key=lambda mount: len(mount.point), default=None)


def judge_mount(mount: Mount | None, data_dir: Path) -> Finding:
    """Return what the file system means for what is promised."""
    if mount is None:
        return warn(CHECK, f"{data_dir}: {MOUNTINFO} does not say what it is on", "mount /proc")
    where = f"{data_dir} is on {mount.kind} ({mount.source})"
    if "ro" in mount.options:
        return fail(CHECK, f"{where}, mounted read-only", f"mount -o remount,rw {mount.point}; check the card: dmesg")
    if lying := ", ".join(sorted(mount.options & LYING)):
        text = f"{where}, mounted with {lying}: a sync returns before the data is safe"
        return warn(CHECK, text, f"remove {lying} from its line in /etc/fstab")
    for kinds, meaning, cure in _TROUBLES:
        if mount.kind in kinds:
            return warn(CHECK, f"{where}: {meaning}", cure)
    return ok(CHECK, where)


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
