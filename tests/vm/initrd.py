"""The guest's initial RAM disk: busybox, the modules in their order, and the script that runs first."""

import lzma
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.vm.kernel import Kernel


def build_initrd(folder: Path, kernel: Kernel, init: Path, environment: Mapping[str, str]) -> Path:
    """Return the file. ``init`` is the script that runs first, and finds ``environment`` in /guest.env."""
    tree = folder / "initrd"
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "bin").mkdir(parents=True)
    (tree / "modules").mkdir()
    shutil.copy(shutil.which("busybox") or "/bin/busybox", tree / "bin" / "busybox")
    shutil.copy(init, tree / "init")
    (tree / "init").chmod(0o755)
    names = [_plain(module, tree / "modules") for module in kernel.modules]
    (tree / "modules.order").write_text("".join(f"{name}\n" for name in names))
    (tree / "guest.env").write_text("".join(f"{key}={shlex.quote(text)}\n" for key, text in environment.items()))
    return _packed(tree, folder / "initrd.cpio")


def _plain(module: Path, folder: Path) -> str:
    """Put the module there uncompressed, as busybox's insmod wants it; return its name."""
    name = module.name.removesuffix(".xz")
    (folder / name).write_bytes(module.read_bytes() if name == module.name else lzma.decompress(module.read_bytes()))
    return name


def _packed(tree: Path, file: Path) -> Path:
    names = "\0".join(str(path.relative_to(tree)) for path in [*tree.rglob("*")])
    with file.open("wb") as output:
        command = ["cpio", "--null", "--create", "--format=newc", "--quiet", "--owner=0:0"]
        subprocess.run(command, cwd=tree, input=names.encode(), stdout=output, check=True)
    return file
