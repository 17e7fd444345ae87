"""The gateway under systemd: the unit as systemd-analyze sees it, and what a real gateway tells the service manager."""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MISSING_PACKAGE
from tests.fakes.gateway_process import ROOT, GatewayProcess

UNIT = ROOT / "config" / "gateway.service"
EXPOSURE_MAX = 2.0
# Fast, so that the test need not wait; two thirds of it is how late a ping may be.
WATCHDOG_S = 3.0


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip(f"{MISSING_PACKAGE} systemd")
    return found


def test_unit_is_without_mistakes(analyze: str, tmp_path: Path) -> None:
    """Its program is not installed here: another stands in for it."""
    unit = tmp_path / "gateway.service"
    unit.write_text(UNIT.read_text().replace("/opt/gateway-bridge/bin/gateway", "/bin/true"))
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert not [line for line in done.stderr.splitlines() if "gateway.service" in line]


def test_unit_is_hardened_and_each_exception_has_its_reason(analyze: str) -> None:
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--json=short", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=True,
    )
    open_ones = [row for row in json.loads(done.stdout) if row["exposure"] is not None]
    exceptions = UNIT.read_text().partition("and why")[2].partition("[Install]")[0]
    reasons = re.findall(r"^# ([A-Z][^:]+): \S", exceptions, flags=re.MULTILINE)
    assert {row["name"].rstrip("=") for row in open_ones} == {reason.rstrip("=") for reason in reasons}
    overall = subprocess.run(
        [analyze, "security", "--offline=true", f"--threshold={EXPOSURE_MAX * 10:.0f}", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert overall.returncode == 0, overall.stdout[-200:]


def test_picture_is_served_and_the_clock_asked_with_no_more_system_calls_and_memory_rights_than_the_unit_gives(
    analyze: str, tmp_path: Path
) -> None:
    """strace answers EPERM to every call outside of the unit's filter, as the kernel would."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip(f"{MISSING_PACKAGE} strace")
    denied = "!" + ",".join(f"?{name}" for name in sorted(allowed_calls(analyze)))
    traced = [strace, "-D", "-f", "-qq", "--seccomp-bpf", "-o", str(tmp_path / "denied")]
    traced += ["-e", f"trace={denied}", "-e", f"inject={denied}:error=EPERM"]
    unprivileged = [sys.executable, "-c", NO_WRITABLE_CODE]
    with GatewayProcess(tmp_path / "data", prefix=[*traced, *unprivileged]) as gateway:
        assert gateway.post_picture((ROOT / "examples" / "banana-ripe.jpg").read_bytes()).status_code == 200
        assert gateway.stop() == 0
        assert "clock_state_unknown" not in gateway.log_file.read_text()
    assert "EPERM" in (tmp_path / "denied").read_text()  # the check can fail: something was asked for and denied


# MemoryDenyWriteExecute= in a line: PR_SET_MDWE (prctl(2), Linux 6.3; older kernels say EINVAL and are not tested).
# setpriority first: a call outside of the filter, so that what is denied is never nothing.
NO_WRITABLE_CODE = """
import ctypes, os, sys
ctypes.CDLL(None).setpriority(0, 0, 0)
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def allowed_calls(analyze: str) -> set[str]:
    """Return the system calls that the unit's SystemCallFilter lines leave."""
    listing = subprocess.run([analyze, "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True)
    groups: dict[str, set[str]] = {}
    members: set[str] = set()
    for line in listing.stdout.splitlines():
        if line.startswith("@"):
            members = groups[line.strip()] = set()
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.add(line.strip())

    def calls(names: set[str]) -> set[str]:
        return set().union(*(calls(groups[name]) if name.startswith("@") else {name} for name in names))

    allowed: set[str] = set()
    for lines in re.findall(r"^SystemCallFilter=(.+)$", UNIT.read_text(), flags=re.MULTILINE):
        named = calls(set(lines.removeprefix("~").split()))
        allowed = allowed - named if lines.startswith("~") else allowed | named
    # systemd adds @default to every list of allowed calls (systemd.exec(5)).
    return allowed | calls({"@default"})


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listener.settimeout(30)
        yield listener


@pytest.fixture
def gateway(systemd: socket.socket, tmp_path: Path) -> Iterator[GatewayProcess]:
    """One that systemd started: the parent's own id in WATCHDOG_PID, as exec leaves it."""
    environment = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    told_its_id = ("sh", "-c", 'WATCHDOG_PID=$$ exec "$@"', "sh")
    with GatewayProcess(tmp_path / "data", environment=environment, prefix=told_its_id) as process:
        yield process


def heard(systemd: socket.socket) -> tuple[str, int]:
    """Return the next message and the process that sent it, as the kernel says."""
    text, control, _, _ = systemd.recvmsg(4096, socket.CMSG_SPACE(12))
    return text.decode(), int.from_bytes(control[0][2][:4], "little")


def until(systemd: socket.socket, line: str, *, within_s: float = 30) -> int:
    """Return who said ``line``."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        text, pid = heard(systemd)
        if line in text.split("\n"):
            return pid
    pytest.fail(f"nobody said {line}")


def fall_silent(systemd: socket.socket) -> None:
    """Return when nothing came for the whole of the watchdog's time."""
    for _ in range(200):
        if not select.select([systemd], [], [], WATCHDOG_S)[0]:
            return
        heard(systemd)
    pytest.fail("it went on speaking")


def test_gateway_says_that_it_serves_that_it_starts_again_after_a_crash_and_that_it_stops(
    systemd: socket.socket, gateway: GatewayProcess
) -> None:
    first = gateway.worker_pid
    assert until(systemd, "READY=1") == first != gateway.pid
    assert until(systemd, "WATCHDOG=1") == first
    os.kill(first, signal.SIGKILL)
    assert until(systemd, "STATUS=ended by signal:9; starting again in 0.5 s") == gateway.pid
    second = until(systemd, "READY=1")
    assert second not in {first, gateway.pid}
    assert gateway.stop() == 0
    assert until(systemd, "STOPPING=1") == second
    assert until(systemd, "STATUS=stopped") == gateway.pid


def test_watchdog_does_not_run_before_the_gateway_serves_however_long_that_takes(
    systemd: socket.socket, gateway: GatewayProcess
) -> None:
    """systemd starts it with the first ping, or with READY."""
    first = [line for line in heard(systemd)[0].split("\n") if not line.startswith("STATUS=")]
    assert first == ["READY=1"]
    assert until(systemd, "WATCHDOG=1") == gateway.worker_pid


def test_stalled_gateway_misses_the_watchdog_and_says_where_it_hangs(
    systemd: socket.socket, gateway: GatewayProcess
) -> None:
    until(systemd, "READY=1")
    os.kill(gateway.worker_pid, signal.SIGSTOP)
    fall_silent(systemd)
    os.kill(gateway.pid, signal.SIGABRT)  # systemd, by KillMode=mixed: to the parent alone
    os.kill(gateway.worker_pid, signal.SIGCONT)
    assert gateway.wait(15) == 128 + signal.SIGABRT
    log = gateway.log_file.read_text()
    assert "Fatal Python error: Aborted" in log
    assert "most recent call first" in log
