"""Names as one gateway sees them: its own /etc/hosts and /etc/resolv.conf, in a mount namespace (needs root).

Well: the hub's proxy has a name. Dead: it has none any more, and the name server that is asked never answers.
"""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.faults.equipment import Impossible

HOST = "uplink.fault-matrix.test"
_LOOPBACK = "127.0.0.1 localhost\n"
# A loopback address of its own for the silent name server: port 53 is fixed, and others may run one.
_SERVER = "127.53.0.{}"
_ENTER = 'mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/resolv.conf" /etc/resolv.conf && exec "$@"'


class Resolver:
    """Built by :func:`resolver`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.prefix: Sequence[str] = ("unshare", "--mount", "--", "sh", "-c", _ENTER, str(folder))
        self.live()

    def live(self) -> None:
        """Give the name its address."""
        self._write(f"{_LOOPBACK}127.0.0.1 {HOST}\n")

    def die(self) -> None:
        """Take it away."""
        self._write(_LOOPBACK)

    def _write(self, text: str) -> None:
        # In place: what is mounted over /etc/hosts is this very file, not its name.
        with (self._folder / "hosts").open("r+" if (self._folder / "hosts").exists() else "w") as file:
            file.write(text)
            file.truncate()


@contextmanager
def resolver(folder: Path) -> Iterator[Resolver]:
    """Yield names for gateways that are started with ``prefix``. Raises Impossible."""
    if shutil.which("unshare") is None:
        raise Impossible("missing package: util-linux (for unshare)")
    names = folder / "names"
    names.mkdir()
    with _silent_server() as address:
        (names / "resolv.conf").write_text(f"nameserver {address}\noptions timeout:1 attempts:1\n")
        made = Resolver(names)
        tried = subprocess.run([*made.prefix, "true"], capture_output=True, text=True, check=False)
        if tried.returncode:
            raise Impossible(f"can't mount over /etc/hosts here: {tried.stderr.strip()}")
        yield made


@contextmanager
def _silent_server() -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for number in range(1, 255):
            address = _SERVER.format(number)
            try:
                server.bind((address, 53))
            except PermissionError as error:
                raise Impossible(f"can't bind {address}:53: {error}") from error
            except OSError:
                continue
            yield address
            return
        raise Impossible("no loopback address with a free port 53")
