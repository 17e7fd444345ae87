"""README's commands in a bare Debian: a root of debootstrap with Python, make and curl, and nothing of this machine.

Needs root, network for apt and pip, and some minutes; ``python -m release --bare-root``. Commands that listen run in
a network namespace of their own, without any network: README's ports are free there, and what was installed must do
without the world. The machine's apt and pip settings and its certificates are copied in, so that mirrors are reached
as here. Every command of README must stand in the plan below: tried, or left out for a reason.
"""

import contextlib
import os
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from release.checklist import Verdict, failed, ok

SUITE = "bookworm"
PACKAGES = "python3 python3-venv make curl ca-certificates"
_SOURCE = "/home/gateway"
_COMMAND = re.compile(r"^(?:make|curl|\.venv/bin/gateway)\b")
_STEP_TIMEOUT_S = 900.0
_LISTENING_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How a command of README is tried: ``shows`` must be in what it prints; ``stays`` runs until it is interrupted."""

    command: str
    shows: str = ""
    stays: bool = False


# In this order. What stays is there for those that follow, and is interrupted at the end.
PLAN = (
    Step(command="make run", shows="Ctrl-C", stays=True),
    Step(command="curl --data-binary @examples/banana-ripe.jpg http://127.0.0.1:8080/image", shows='"tagName":"ripe"'),
    Step(command=".venv/bin/gateway outbox list", shows="ripe"),
    Step(command=".venv/bin/gateway simulate device mqtt --count 3", shows="cam-1"),
    Step(command=".venv/bin/gateway simulate device camera", shows="snapshot.jpg", stays=True),
    Step(command="make hub", shows="GATEWAY_CLOUD__CONNECTION_STRING", stays=True),
)
LEFT_OUT = {
    "make test": "the tests have their own run, on a fresh clone",
    "make fault-matrix": "takes hours",
    "make run LAN=1": "the same start with other listeners",
    "make demo": "the demo has its own test, and takes minutes",
    'make demo DEMO="--seconds 600 --seed 2"': "the same, longer",
    ".venv/bin/gateway doctor": "measures the disk of a real machine; ends with 1 in a container",
    ".venv/bin/gateway simulate device ble": "needs dbus-daemon, which README's paragraph is about",
}


def commands_of(readme: str) -> list[str]:
    """Return README's commands: the lines of its code blocks and its inline code that run something."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\w*\n.*?^```", "", readme, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", prose)
    commands = (line.partition("  #")[0].strip() for line in lines)
    return list(dict.fromkeys(command for command in commands if _COMMAND.match(command)))


def unplanned(readme: str) -> list[str]:
    """Return the commands that nobody has thought of."""
    planned = {step.command for step in PLAN} | set(LEFT_OUT)
    return [command for command in commands_of(readme) if command not in planned]


def readme_works(root: Path) -> Verdict:
    """Try the plan in a fresh root."""
    if strangers := unplanned((root / "README.md").read_text()):
        return failed(f"README has commands that are not in the plan of release/bare_root.py: {', '.join(strangers)}")
    if os.geteuid() != 0:
        return failed("debootstrap and chroot need root")
    for tool in ("debootstrap", "unshare", "nsenter", "ip"):
        if not shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin"):
            return failed(f"{tool} is missing: apt-get install debootstrap util-linux iproute2")
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bare-root-", ignore_cleanup_errors=True) as folder:
        bare = BareRoot(Path(folder))
        bare.make(root)
        lines = bare.try_all()
    facts = "\n".join([f"{len(PLAN)} commands in {time.monotonic() - started_at:.0f} s", *lines])
    return ok(facts) if all(line.startswith("ok") for line in lines) else failed(facts)


class BareRoot:
    """The root in ``folder``. Mounts live in namespaces of the commands, so nothing of them stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, root: Path) -> None:
        """Return when the root has README's prerequisites and the source of the last commit."""
        _run(
            "debootstrap",
            "--variant=minbase",
            f"--include={PACKAGES.replace(' ', ',')}",
            SUITE,
            str(self._folder),
            _mirror(),
        )
        self._copy_ways_out()
        source = self._folder / _SOURCE.lstrip("/")
        source.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(source)], input=archive, check=True)

    def try_all(self) -> list[str]:
        """Return a line for each step."""
        # What `make run` does first; the one that needs the network.
        installed = self._finish(self._start("make .venv/.installed", isolated=""))
        if installed[0] != 0:
            return [f"failed: make run: {installed[1][-600:]}"]
        with _network_of_its_own() as namespace:
            stayed: list[subprocess.Popen[str]] = []
            try:
                return [self._try(step, namespace, stayed) for step in PLAN]
            finally:
                for process in stayed:
                    os.killpg(process.pid, signal.SIGKILL)

    def _try(self, step: Step, namespace: str, stayed: list[subprocess.Popen[str]]) -> str:
        process = self._start(step.command, isolated=namespace)
        if step.stays:
            printed = _until(process, step.shows)
            if step.shows not in printed:
                return f"failed: {step.command}: {printed[-400:]}"
            stayed.append(process)
            return f"ok: {step.command}"
        code, printed = self._finish(process)
        if code != 0 or step.shows not in printed:
            return f"failed ({code}): {step.command}: {printed[-400:]}"
        return f"ok: {step.command}"

    def _start(self, command: str, *, isolated: str) -> subprocess.Popen[str]:
        inside = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "sh", "-c"]
        here = self._folder
        script = f'mount -t proc proc {here}/proc && mount --rbind /dev {here}/dev && exec chroot {here} "$@"'
        enter = ["nsenter", f"--net={isolated}"] if isolated else []
        return subprocess.Popen(
            [*enter, "unshare", "--mount", "sh", "-c", script, "sh", *inside, f"cd {_SOURCE} && exec {command}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        try:
            printed, _ = process.communicate(timeout=_STEP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
            return -1, f"{printed}\nnot in time"
        return process.returncode, printed

    def _copy_ways_out(self) -> None:
        """Copy how this machine reaches mirrors: apt's settings, pip's settings, the certificates that it trusts."""
        for name in ("etc/apt/apt.conf.d", "etc/apt/sources.list.d", "etc/apt/sources.list", "etc/pip.conf"):
            there, here = Path("/") / name, self._folder / name
            if there.is_dir():
                shutil.copytree(there, here, dirs_exist_ok=True)
            elif there.is_file():
                shutil.copy(there, here)
        bundle = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
        for target in {"/etc/ssl/certs/ca-certificates.crt", *_named_bundles()}:
            inside = self._folder / target.lstrip("/")
            inside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(bundle, inside)


def _named_bundles() -> set[str]:
    """Return where pip's settings expect the certificates."""
    try:
        text = Path("/etc/pip.conf").read_text()
    except OSError:
        return set()
    return set(re.findall(r"^cert\s*=\s*(\S+)", text, re.MULTILINE))


def _mirror() -> str:
    """Return the mirror that this machine's apt uses first."""
    places = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*.sources")]
    for place in places:
        if place.is_file() and (
            found := re.search(r"^(?:URIs:|deb(?: \[[^]]*\])?) *(\S+)", place.read_text(), re.MULTILINE)
        ):
            return found[1]
    raise LookupError("no apt mirror in /etc/apt")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {(done.stdout + done.stderr)[-600:]}")


@contextlib.contextmanager
def _network_of_its_own() -> Iterator[str]:
    """Yield the path of a network namespace with loopback and nothing else."""
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as holder:
        try:
            path = f"/proc/{holder.pid}/ns/net"
            while Path(path).readlink() == Path("/proc/self/ns/net").readlink():
                time.sleep(0.05)
            _run("nsenter", f"--net={path}", "ip", "link", "set", "lo", "up")
            yield path
        finally:
            holder.kill()


def _until(process: subprocess.Popen[str], text: str) -> str:
    """Return what was printed until ``text`` came, the end, or the time limit (checked with each line)."""
    assert process.stdout is not None
    printed = ""
    deadline = time.monotonic() + _LISTENING_TIMEOUT_S
    for line in process.stdout:
        printed += line
        if text in printed or time.monotonic() > deadline:
            break
    return printed
