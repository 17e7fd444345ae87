"""An image, run as Docker would with --read-only, --cap-drop ALL and no-new-privileges, without needing its engine.

Its root is exported once and mounted read-only; it has its own processes and mounts, one volume at /data, a tmpfs at
/tmp, the user, environment, entry point and command that the image names, and this machine's network, so that a test
can talk to it. QEMU runs the programs of another architecture.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.fakes.gateway_process import ROOT

# A picture takes a second and Python twelve times longer to start under QEMU.
SLOWNESS = 20
START_TIMEOUT_S = 600.0
RUN_TIMEOUT_S = 3000.0


class Image:
    """An image's root and what it says about itself."""

    def __init__(self, name: str, folder: Path) -> None:
        subprocess.run(["sh", str(ROOT / "shipping" / "image.sh"), "export", name, str(folder)], check=True)
        self.root = folder / "root"
        said = json.loads((folder / "image.json").read_text())
        # Docker's inspect gives its configuration, buildah's everything.
        self.config: dict[str, Any] = said["Docker"]["config"] if "Docker" in said else said

    def command(
        self,
        what: Sequence[str],
        *,
        volume: Path,
        environment: Mapping[str, str],
        extra: Mapping[Path, str] | None = None,
        as_root: bool = False,
    ) -> list[str]:
        """Return the command that runs ``what`` in the image; ``extra`` folders are there too, read-only.

        ``as_root`` is for tests that mount: not the image's user, with every capability.
        """
        named = dict(variable.split("=", 1) for variable in self.config["Env"]) | dict(environment)
        numeric = _user_id(self.root, self.config["User"])
        mounts = [
            f"mount --rbind {self.root} {self.root}",
            f"mount -t proc proc {self.root}/proc",
            f"mount --rbind /dev {self.root}/dev",
            f"mount -t tmpfs -o size=16m,mode=1777 tmpfs {self.root}/tmp",
            f"mount --bind {volume} {self.root}/data",
            *(f"mount --bind {source} {self.root}{target}" for source, target in (extra or {}).items()),
            f"mount -o remount,bind,ro {self.root}",
        ]
        unprivileged = ["setpriv", f"--reuid={numeric}", f"--regid={numeric}", "--clear-groups", "--no-new-privs"]
        unprivileged += ["--bounding-set=-all", "--inh-caps=-all"]
        inside = [
            "env",
            "-i",
            "-C",
            self.config["WorkingDir"],
            *(f"{key}={value}" for key, value in named.items()),
            *what,
        ]
        program = inside if as_root else [*unprivileged, *inside]
        script = "; ".join([*mounts, f"exec chroot {self.root} {shlex.join(program)}"])
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-euc", script]

    def run(
        self,
        *what: str,
        volume: Path,
        environment: Mapping[str, str] | None = None,
        extra: Mapping[Path, str] | None = None,
        as_root: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(what, volume=volume, environment=environment or {}, extra=extra, as_root=as_root),
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_TIMEOUT_S,
        )


class Container:
    """The image's own command, running. ``kill`` is kill -9 of all of it; the volume stays."""

    def __init__(self, image: Image, volume: Path, environment: Mapping[str, str]) -> None:
        self.image = image
        self.volume = volume
        self.environment = dict(environment)
        self.log = volume.with_name(f"{volume.name}.log")
        self.start_s = 0.0
        self.banner = ""

    def start(self) -> Self:
        """Return when the banner is out."""
        what = [*self.image.config["Entrypoint"], *self.image.config["Cmd"]]
        command = self.image.command(what, volume=self.volume, environment=self.environment)
        began = time.monotonic()
        with self.log.open("a") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        self.banner = ""
        for line in self._process.stdout:
            self.banner += line
            if "Ctrl-C" in line:
                break
            assert time.monotonic() - began < START_TIMEOUT_S
        assert "Ctrl-C" in self.banner, f"it did not start:\n{self.banner}{self.log.read_text()[-3000:]}"
        self.start_s = time.monotonic() - began
        return self

    @property
    def http(self) -> str:
        return str(re.findall(r"https?://127\.0\.0\.1:\d+", self.banner)[0])

    @property
    def mqtt_port(self) -> int:
        found = re.search(r"mqtt://127\.0\.0\.1:(\d+)", self.banner)
        assert found is not None, self.banner
        return int(found[1])

    def processes(self) -> list[int]:
        """Return the gateway's processes, the first in the container first."""
        found, waiting = [], [self._process.pid]
        while waiting:
            pid = waiting.pop(0)
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            found += [int(child) for child in children]
            waiting += [int(child) for child in children]
        return found

    def resident_mib(self) -> list[float]:
        """Return what each process holds, the emulator's share included."""
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in self.processes()]
        return [int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024 for status in statuses]

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM to its first process as `docker stop` does; return the exit code and the seconds it took."""
        began = time.monotonic()
        os.kill(self.processes()[0], signal.SIGTERM)
        code = self._process.wait(60 * SLOWNESS)
        took_s = time.monotonic() - began
        self._close()
        return code, took_s

    def kill(self) -> None:
        """Kill every process at once."""
        os.kill(self.processes()[0], signal.SIGKILL)  # the first of its namespace: the kernel ends the others
        self._process.wait(60)
        self._close()

    def close(self) -> None:
        """End it, if it runs."""
        if self._process.poll() is None:
            self.kill()

    def _close(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()


def _user_id(root: Path, name: str) -> int:
    users = (line.split(":") for line in (root / "etc" / "passwd").read_text().splitlines())
    return next(int(fields[2]) for fields in users if fields[0] == name)


def make_volume(image: Image, folder: Path) -> Path:
    """Return a new volume with the owner and mode that the image gives its own, as Docker makes one."""
    origin = (image.root / "data").stat()
    folder.mkdir()
    shutil.copystat(image.root / "data", folder)
    os.chown(folder, origin.st_uid, origin.st_gid)
    for parent in list(folder.parents)[:3]:  # pytest's own folders are closed to others
        parent.chmod(parent.stat().st_mode | 0o055)
    return folder
