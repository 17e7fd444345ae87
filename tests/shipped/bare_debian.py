"""A bare Debian 12 of some architecture, that a test may do anything to: the cached root with a layer over it.

What runs in it has no network at all (a network namespace with a loopback), its own processes, and sees nothing of
this machine. QEMU runs the programs of another architecture. Needs root, debootstrap and overlayfs.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fakes.gateway_process import ROOT

DEBIAN_NAMES = {"armv7l": "armhf", "aarch64": "arm64", "x86_64": "amd64"}
CACHE = Path(os.environ.get("SHIPPING_CACHE", Path.home() / ".cache" / "gateway-bridge"))
# As any Debian that is more than bare has it.
PYTHON = ("python3", "ca-certificates", "tzdata")
RUN_TIMEOUT_S = 1800


class BareDebian:
    """The root at ``root``; files are put there with plain copies."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell script inside, as root, without a network; nothing of it outlives the call."""
        inside = (
            "ip link set lo up 2>/dev/null || true; "
            f"mount -t proc proc {self.root}/proc; mount -t tmpfs tmpfs {self.root}/run; "
            f"mount --rbind /dev {self.root}/dev; "
            f"exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root "
            f"chroot {self.root} sh -euc {shlex.quote(script)}"
        )
        done = subprocess.run(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-euc", inside],
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done


@contextlib.contextmanager
def bare_debian(architecture: str, scratch: Path) -> Iterator[BareDebian]:
    """Yield one with Python where the bundle does not bring it (it does on armv7l); gone with the ``with``."""
    debian_name = DEBIAN_NAMES[architecture]
    base = cached_root(debian_name) if architecture == "armv7l" else cached_root(debian_name, "python", PYTHON)
    with layered(base, scratch) as root:
        yield BareDebian(root)


@contextlib.contextmanager
def layered(base: Path, scratch: Path) -> Iterator[Path]:
    """Yield a root that is ``base`` with a layer in memory over it, to write to; gone with the ``with``."""
    scratch.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(scratch)], check=True)
    merged = scratch / "merged"
    try:
        for name in ("upper", "work", "merged"):
            (scratch / name).mkdir()
        layers = f"lowerdir={base},upperdir={scratch}/upper,workdir={scratch}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(merged)], check=True)
        yield merged
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", str(scratch)], check=False)


def cached_root(debian_name: str, kind: str = "", packages: Sequence[str] = ()) -> Path:
    """Return the folder with a bare Debian, or with one that has these packages too, made when first asked for."""
    script = [str(ROOT / "shipping" / "base_image.sh"), debian_name, str(CACHE), "root-only"]
    subprocess.run(["sh", *script], check=True, stdout=subprocess.DEVNULL)
    base = CACHE / f"bookworm-{debian_name}"
    return _with_packages(base, kind, packages) if kind else base


def _with_packages(base: Path, kind: str, packages: Sequence[str]) -> Path:
    made = base.with_name(f"{base.name}-{kind}")
    if not (made / ".complete").exists():
        shutil.rmtree(made, ignore_errors=True)
        subprocess.run(["cp", "-a", str(base), str(made)], check=True)
        (made / ".complete").unlink()
        shutil.copy("/etc/resolv.conf", made / "etc" / "resolv.conf")
        install = f"apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install {' '.join(packages)}"
        subprocess.run(["chroot", str(made), "sh", "-c", install], check=True, stdout=subprocess.DEVNULL)
        (made / ".complete").touch()
    return made
