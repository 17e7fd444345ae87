"""A Docker engine of the test's own: dockerd with its own folder, its own network without a way out, and its own end.

Ports that its containers publish are in that network, and nowhere on this machine. Debian's docker.io and
docker-compose; needs root.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.vm.machine import Tool, make_ready

TOOLS = (
    Tool(command="dockerd", package="docker.io"),
    Tool(command="iptables", package="iptables"),
    Tool(command="docker-compose", package="docker-compose"),
    Tool(command="buildah", package="buildah"),
    Tool(command="mosquitto_pub", package="mosquitto-clients"),
)
START_TIMEOUT_S = 120.0
RUN_TIMEOUT_S = 600.0
# As a container gets them where nothing says more; to raise them takes a right that build machines often lack.
NOFILE = "nofile=1024:4096"


class Engine:
    """``run`` a command against it; ``here`` runs one in its network, as a device at the site would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = folder / "docker.sock"

    def start(self) -> Self:
        """Return when it answers."""
        command = ["dockerd", f"--host=unix://{self._socket}", f"--data-root={self._folder}/data"]
        command += [f"--exec-root={self._folder}/exec", f"--pidfile={self._folder}/pid", f"--default-ulimit={NOFILE}"]
        script = 'ip link set lo up; exec "$@"'
        with (self._folder / "dockerd.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--net", "sh", "-euc", script, "sh", *command], stdout=log, stderr=log
            )
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while self.run("docker", "version", check=False).returncode:
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < give_up_at, self.log()
            time.sleep(0.5)
        return self

    def log(self) -> str:
        """Return the end of what the engine said."""
        return (self._folder / "dockerd.log").read_text()[-3000:]

    def run(
        self,
        *command: str,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` with this engine as Docker's."""
        variables = os.environ | {"DOCKER_HOST": f"unix://{self._socket}"} | dict(environment or {})
        return _checked(command, folder, variables, check=check)

    def here(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``command`` in the engine's network."""
        entered = ["nsenter", f"--target={self._process.pid}", "--net", *command]
        return _checked(entered, None, os.environ, check=check)

    def load(self, image: str, name: str) -> None:
        """Give it the image that buildah has, under this name."""
        archive = self._folder / "image.tar"
        subprocess.run(["buildah", "push", "--quiet", image, f"docker-archive:{archive}:{name}"], check=True)
        self.run("docker", "load", "--quiet", "--input", str(archive))
        archive.unlink()

    def close(self) -> None:
        """End it with all of its containers; nothing is left."""
        running = self.run("docker", "ps", "--quiet", check=False).stdout.split()
        if running:
            self.run("docker", "kill", *running, check=False)
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def docker_engine(folder: Path) -> Iterator[Engine]:
    """Yield one, running; gone with the ``with``."""
    make_ready(TOOLS)
    engine = Engine(folder).start()
    try:
        yield engine
    finally:
        engine.close()


def _checked(
    command: Sequence[str], folder: Path | None, environment: Mapping[str, str], *, check: bool
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0 or not check, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done
