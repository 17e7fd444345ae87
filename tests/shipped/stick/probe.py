"""What may a service do under the unit's rules? Prints one JSON object: "" for done, else the error's name."""

import ctypes
import errno
import json
import mmap
import socket
from collections.abc import Callable
from pathlib import Path

STATE = Path("/var/lib/gateway-bridge")
CLONE_NEWUSER = 0x10000000
libc = ctypes.CDLL(None, use_errno=True)


def attempt(do: Callable[[], object]) -> str:
    try:
        do()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))
    return ""


def write(path: str) -> Callable[[], object]:
    return lambda: Path(path).write_text("x")


def call(name: str, *arguments: object) -> Callable[[], object]:
    def do() -> None:
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    return do


def make_setuid() -> None:
    (STATE / "probe-setuid").touch()
    (STATE / "probe-setuid").chmod(0o4755)


TRIES: dict[str, Callable[[], object]] = {
    "its data": write(str(STATE / "probe")),
    "a temporary file": write("/tmp/probe"),
    "a socket of the network": lambda: socket.socket(socket.AF_INET).close(),
    "a folder that is everybody's": write("/srv/open/probe"),
    "its settings": write("/etc/gateway-bridge/probe"),
    "its program": write("/opt/gateway-bridge/probe"),
    "a kernel setting": write("/proc/sys/kernel/panic"),
    "somebody's home": lambda: list(Path("/home/someone").iterdir()),
    "another process": lambda: Path("/proc/1/cmdline").read_text(),
    "writable code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "raw packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "a namespace": call("unshare", CLONE_NEWUSER),
    "the host's name": call("sethostname", b"x", 1),
    "a mount": call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "a higher priority": call("nice", -5),
    "a setuid program": make_setuid,
}

if __name__ == "__main__":
    print(json.dumps({name: attempt(do) for name, do in TRIES.items()}))
