"""The preloaded library of shim.c, and the file by which it is told what to do to a running gateway."""

import mmap
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.equipment import Impossible

SOURCE = Path(__file__).with_name("shim.c")
# struct control of shim.c: four int32 of ours, one that it counts in, one unused, one int64 of ours.
_LAYOUT = struct.Struct("=iiiiiiq")
_FELT = struct.Struct("=i")
_FELT_AT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ailment:
    """What shall be wrong. Everything is well by default."""

    sync_eio_percent: int = 0
    write_eio_percent: int = 0
    sync_delay_ms: int = 0
    sync_lies: bool = False  # a disk as no gateway can survive it: to see that the matrix finds out
    clock_offset_ms: int = 0


class Shim:
    """Built by :func:`shim`. Acts on every gateway that was started with ``environment``."""

    def __init__(self, library: Path, control: Path, memory: mmap.mmap, data_dir: Path) -> None:
        self._library = library
        self._control = control
        self._memory = memory
        self._data_dir = data_dir

    def environment(self) -> Mapping[str, str]:
        """Return what a gateway is started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAULT_SHIM_CONTROL": str(self._control),
            "FAULT_SHIM_DATA": str(self._data_dir),
        }

    def apply(self, ailment: Ailment) -> None:
        """Let this be wrong from now on, and nothing else."""
        packed = _LAYOUT.pack(
            ailment.sync_eio_percent,
            ailment.write_eio_percent,
            ailment.sync_delay_ms,
            ailment.sync_lies,
            0,
            0,
            ailment.clock_offset_ms,
        )
        self._memory[:_FELT_AT] = packed[:_FELT_AT]
        self._memory[_FELT_AT + _FELT.size : _LAYOUT.size] = packed[_FELT_AT + _FELT.size :]

    @property
    def felt(self) -> int:
        """How many calls have failed or been delayed up to now."""
        found: int = _FELT.unpack_from(self._memory, _FELT_AT)[0]
        return found


def compiler() -> str | None:
    """Return the C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc")


@contextmanager
def shim(folder: Path, *, data_dir: Path) -> Iterator[Shim]:
    """Yield a freshly compiled shim. Raises Impossible."""
    program = compiler()
    if program is None:
        raise Impossible("missing package: gcc (cc)")
    library, control = folder / "shim.so", folder / "shim.control"
    command = [program, "-O1", "-Wall", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Impossible(f"missing package: libc6-dev? {SOURCE.name} does not compile: {done.stderr.strip()[:500]}")
    control.write_bytes(bytes(_LAYOUT.size))
    with control.open("r+b") as file, mmap.mmap(file.fileno(), _LAYOUT.size) as memory:
        yield Shim(library, control, memory, data_dir)
