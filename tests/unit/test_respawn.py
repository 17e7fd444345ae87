"""The tiny parent: starts again after a crash, not after a clean stop or an operator's mistake."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.respawn import LAST_EXIT_VARIABLE, ended_by_native_crash

# Counts its starts in a file and ends as the words in argv say, one a start.
CHILD = """
import os, signal, sys, time
path, *ends = sys.argv[1:]
with open(path, "a") as file:
    file.write(os.environ.get("GATEWAY_LAST_EXIT", "none") + "\\n")
n = len(open(path).readlines())
end = ends[min(n, len(ends)) - 1]
if end == "segv": os.kill(os.getpid(), signal.SIGSEGV)
if end == "kill": os.kill(os.getpid(), signal.SIGKILL)
if end == "serve":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("serving", os.getpid(), flush=True)
    while True: time.sleep(0.05)
sys.exit(int(end))
"""


def respawn(path: Path, *ends: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gateway.respawn", sys.executable, "-c", CHILD, str(path), *ends]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def starts(path: Path) -> list[str]:
    return path.read_text().split()


def test_clean_stop_is_not_started_again(tmp_path: Path) -> None:
    with respawn(tmp_path / "starts", "0") as parent:
        assert parent.wait(20) == 0
    assert starts(tmp_path / "starts") == ["none"]


def test_operator_error_is_not_started_again(tmp_path: Path) -> None:
    with respawn(tmp_path / "starts", "2") as parent:
        assert parent.wait(20) == 2
    assert starts(tmp_path / "starts") == ["none"]


def test_crash_is_started_again_and_told_how_the_last_one_ended(tmp_path: Path) -> None:
    with respawn(tmp_path / "starts", "segv", "7", "0") as parent:
        assert parent.wait(30) == 0
    assert starts(tmp_path / "starts") == ["none", f"signal:{int(signal.SIGSEGV)}", "exit:7"]


def test_sigterm_reaches_the_child_and_ends_both(tmp_path: Path) -> None:
    with respawn(tmp_path / "starts", "serve") as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("serving")
        parent.terminate()
        assert parent.wait(20) == 0


def test_killed_parent_takes_the_child_with_it(tmp_path: Path) -> None:
    with respawn(tmp_path / "starts", "serve") as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline().split()[1])
        parent.kill()
    for _ in range(200):
        if not _alive(child):
            return
        time.sleep(0.05)
    pytest.fail("the child outlived its parent")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("last_exit", "native"),
    [
        (None, False),
        ("exit:1", False),
        ("signal:9", False),
        ("signal:15", False),
        ("signal:11", True),
        ("signal:6", True),
    ],
)
def test_only_native_crashes_make_suspects(last_exit: str | None, native: bool) -> None:
    assert ended_by_native_crash(last_exit) is native


def test_variable_name_is_the_one_the_child_reads() -> None:
    assert LAST_EXIT_VARIABLE in CHILD
    assert LAST_EXIT_VARIABLE not in os.environ
