"""``make bundle ARCH=...``: one archive that installs on Debian 12 without a network and a compiler.

In it: a wheel of everything that the board's lock file names, pip's own to install them, the demo model, settings, the
unit, install.sh, checksums; for armv7l Debian's packages of what has no wheel (NumPy, Pillow, cffi), with all they
need. Nothing of the board's architecture runs here: what PyPI has as source only is pure Python and is built here.

Usage: python -m shipping.bundle armv7l|aarch64|x86_64 CACHE_DIR
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from gateway import __version__
from shipping.closure import FROM_DEBIAN, MACHINES, lock, pinned
from shipping.requirements import ROOT

# All that Debian 12 takes: glibc 2.36 and older.
_GLIBC = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17")


def make(architecture: str, cache: Path, out: Path) -> Path:
    """Return the archive, in ``out``."""
    name = f"gateway-bridge-{__version__}-{architecture}"
    with tempfile.TemporaryDirectory(prefix="bundle-") as scratch:
        folder = Path(scratch) / name
        (folder / "wheels").mkdir(parents=True)
        _own_wheel(folder / "wheels")
        _from_index(folder / "wheels", architecture)
        if architecture in FROM_DEBIAN:
            _output("sh", "shipping/debs.sh", "armhf", str(cache), str(folder / "debs"))
        _pip(folder / "pip")
        _data(folder, architecture)
        checksums(folder)
        return pack(folder, out / f"{name}.tar.gz")


def _own_wheel(wheels: Path) -> None:
    """Build from a copy of what is in version control, changed files as they are: no stale build folder gets in."""
    with tempfile.TemporaryDirectory(prefix="source-") as source:
        listed = _output(
            "git", "ls-files", "-z", "gateway", "adapters", "config", "pyproject.toml", "LICENSE", "README.md"
        )
        for name in filter(None, listed.split("\0")):
            target = Path(source) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        _run_pip("wheel", "--no-deps", "--wheel-dir", str(wheels), source)


def _from_index(wheels: Path, architecture: str) -> None:
    binary, source = lock(architecture)
    platforms = [f"--platform=manylinux_{glibc}_{architecture}" for glibc in _GLIBC]
    platforms.append(f"--platform=manylinux2014_{architecture}")
    _run_pip(
        *("download", "--no-deps", "--only-binary=:all:", "--python-version=3.11", "--dest", str(wheels)),
        *platforms,
        *binary,
    )
    for pin in source:
        _build_pure(pin, wheels)


def _build_pure(pin: str, wheels: Path) -> None:
    """Build a wheel for any machine; fails where something of this one's got into it."""
    with tempfile.TemporaryDirectory(prefix="wheel-") as scratch:
        _run_pip("wheel", "--no-deps", f"--no-binary={pin.partition('=')[0]}", "--wheel-dir", scratch, pin)
        (built,) = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(built) as opened:
            assert not [name for name in opened.namelist() if name.endswith(".so")], f"{pin} is not pure Python"
        tags = ["--python-tag=py3", "--abi-tag=none", "--platform-tag=any", "--remove"]
        subprocess.run(
            [sys.executable, "-m", "wheel", "tags", *tags, str(built)], check=True, stdout=subprocess.DEVNULL
        )
        (pure,) = Path(scratch).glob("*.whl")
        shutil.copy(pure, wheels)


def _pip(into: Path) -> None:
    _run_pip("download", "--no-deps", "--only-binary=:all:", "--dest", str(into), pinned({"pip"}, "x86_64")["pip"])


def _data(folder: Path, architecture: str) -> None:
    shutil.copytree(ROOT / "config", folder / "config", ignore=shutil.ignore_patterns("__init__.py", "__pycache__"))
    shutil.copy(ROOT / "docs" / "INSTALL.md", folder)
    shutil.copy(ROOT / "LICENSE", folder)
    shutil.copy(ROOT / "shipping" / "install.sh", folder)
    (folder / "install.sh").chmod(0o755)
    (folder / "VERSION").write_text(f"{__version__}\n")
    (folder / "ARCHITECTURE").write_text(f"{architecture}\n")


def checksums(folder: Path) -> None:
    """Write SHA256SUMS of all that is in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def pack(folder: Path, target: Path) -> Path:
    """Pack with fixed owners, order and times; wheels are compressed already, so the fastest level does."""
    target.parent.mkdir(parents=True, exist_ok=True)

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = 0
        return member

    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        archive.add(folder, arcname=folder.name, filter=plain)
    return target


def _run_pip(*arguments: str) -> None:
    """Run this environment's pip against the index alone: a folder of this machine's own wheels is not the board's."""
    subprocess.run(
        [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]],
        check=True,
        env={key: value for key, value in os.environ.items() if key != "PIP_FIND_LINKS"}
        # dbus-fast compiles itself unless told not to.
        | {"SKIP_CYTHON": "1"},
    )


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> int:
    """Make the bundle that is asked for; print where it is, and its size."""
    architecture, cache = sys.argv[1], Path(sys.argv[2])
    if architecture not in MACHINES:
        sys.stderr.write(f"ARCH={architecture}: one of {', '.join(MACHINES)}\n")
        return 2
    archive = make(architecture, cache, ROOT / "dist")
    sys.stdout.write(f"{archive.relative_to(ROOT)}: {archive.stat().st_size / 1e6:.1f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
