"""Debian's kernel with the modules that a guest loads, unpacked below ``build/`` once and used again.

The machine's own kernel is of no use: many have no Bluetooth, and none lets a test load modules as it likes.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.vm.machine import SEARCH_PATH, CannotRun, which

METAPACKAGE = "linux-image-amd64"
# Folders of the package that hold what the guests load and its dependencies; all of it would be ten times as much.
UNPACKED = (
    "*boot/vmlinuz-*", "*lib/modules/*/modules.*", "*lib/modules/*/kernel/arch/x86/crypto/*",
    "*lib/modules/*/kernel/crypto/*", "*lib/modules/*/kernel/drivers/block/virtio_blk*",
    "*lib/modules/*/kernel/drivers/bluetooth/*", "*lib/modules/*/kernel/drivers/char/virtio_console*",
    "*lib/modules/*/kernel/drivers/hid/*", "*lib/modules/*/kernel/drivers/virtio/*",
    "*lib/modules/*/kernel/fs/*", "*lib/modules/*/kernel/lib/*", "*lib/modules/*/kernel/net/9p/*",
    "*lib/modules/*/kernel/net/bluetooth/*", "*lib/modules/*/kernel/net/rfkill/*",
)  # fmt: skip
DOWNLOAD_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """``modules`` in the order in which to load them; ``tree`` holds them and all others that were unpacked."""

    version: str
    image: Path
    tree: Path
    modules: tuple[Path, ...]


def unpacked_kernel(folder: Path, wanted: Iterable[str]) -> Kernel:
    """Return the kernel in ``folder``, fetched first if it is not there, to load these modules. Raises CannotRun."""
    folder = folder.resolve()
    if not (folder / "complete").exists():
        _fetch(folder)
        (folder / "complete").touch()
    image = next((folder / "boot").glob("vmlinuz-*"))
    version = image.name.removeprefix("vmlinuz-")
    modules = folder / "lib" / "modules" / version
    paths = load_order(
        wanted,
        modules_dep=(modules / "modules.dep").read_text(),
        modules_builtin=(modules / "modules.builtin").read_text(),
    )
    return Kernel(version=version, image=image, tree=modules, modules=tuple(modules / path for path in paths))


def _fetch(folder: Path) -> None:
    # What an interrupted try left would be taken for ours.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        deb = _downloaded(folder)
    except subprocess.TimeoutExpired as error:
        raise CannotRun(f"{' '.join(error.cmd)} took more than {DOWNLOAD_TIMEOUT_S} s.") from error
    _unpack(deb, folder)
    deb.unlink()


def _downloaded(folder: Path) -> Path:
    if not which("apt-get"):
        raise CannotRun("there is no apt-get to fetch Debian's kernel with.")
    why = ""
    # The lists may be missing, or older than the mirror, and then name files that are gone: a second try with new ones.
    for prepare in ((), ("apt-get", "update", "-qq")):
        if prepare:
            _run([*prepare], folder)
        package = _package(folder)
        if not package:
            why = f"apt knows no {METAPACKAGE}: the guest runs on Debian's kernel."
            continue
        print(f"Downloading {package} (about 70 MB, once) ...", flush=True)
        done = _run(["apt-get", "download", "-qq", package], folder)
        if done.returncode == 0:
            return next(folder.glob("*.deb"))
        why = f"apt-get download {package} failed: {done.stderr.strip()[-300:]}"
    raise CannotRun(why)


def _package(folder: Path) -> str:
    """Return the versioned package that Debian's metapackage stands for, or ""."""
    listed = _run(["apt-cache", "depends", METAPACKAGE], folder).stdout
    found = re.search(r"Depends: (linux-image-\S+-amd64)", listed)
    return found[1] if found else ""


def _unpack(deb: Path, folder: Path) -> None:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as opened:
        # Debian 13 has /usr/lib/modules.
        tar = ["tar", "-x", "-C", str(folder), "--transform", "s,^./usr/,./,", "--wildcards", *UNPACKED]
        # tar complains about a pattern that meets nothing; what matters is checked by load_order.
        subprocess.run(tar, stdin=opened.stdout, stderr=subprocess.DEVNULL, check=False)
    (version,) = [one.name for one in (folder / "lib" / "modules").iterdir()]
    done = _run(["depmod", "-b", str(folder), version], folder)
    if done.returncode:
        raise CannotRun(f"depmod failed: {done.stderr.strip()[-300:]}")


def load_order(wanted: Iterable[str], *, modules_dep: str, modules_builtin: str) -> list[str]:
    """Return the paths of these modules and of what they need, each once, needs first. Raises CannotRun.

    The texts are depmod's: a path, a colon and its needs in each line, the nearest need first; a path in each line.
    """
    needs = dict(_dependencies(modules_dep))
    by_name = {_name(path): path for path in needs}
    builtin = {_name(path) for path in modules_builtin.split()}
    ordered: dict[str, None] = {}
    for name in map(_name, wanted):
        if name in builtin:
            continue
        if name not in by_name:
            raise CannotRun(
                f"this kernel has no module {name}. Delete the folder of the kernel below build/ and try again."
            )
        path = by_name[name]
        ordered.update(dict.fromkeys([*reversed(needs[path]), path]))
    return list(ordered)


def _dependencies(text: str) -> Iterator[tuple[str, list[str]]]:
    for line in text.splitlines():
        path, _, rest = line.partition(":")
        yield path, rest.split()


def _name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": SEARCH_PATH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
    )
