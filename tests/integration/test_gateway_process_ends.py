"""What tests start ends with them: a test that fails, and a test process that is killed, leave no gateway behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.fakes.child_process import ending_with_the_block
from tests.fakes.gateway_process import ROOT, GatewayProcess

GONE_WITHIN_S = 20.0
TEST_PROCESS = """
import sys
import time
from pathlib import Path
from tests.fakes.gateway_process import GatewayProcess

gateway = GatewayProcess(Path(sys.argv[1])).start()
print(*gateway.processes(), flush=True)
time.sleep(600)
"""


def lives(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + GONE_WITHIN_S
    while left := [pid for pid in pids if lives(pid)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.02)


def test_killed_test_process_takes_parent_and_worker_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TEST_PROCESS, str(tmp_path / "data")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        pids = [int(pid) for pid in tests.stdout.readline().split()]
        assert len(pids) >= 2, "a parent and the gateway itself"
        assert all(map(lives, pids))
        os.kill(tests.pid, signal.SIGKILL)
    wait_until_gone(pids)


def test_gateway_outlives_the_thread_that_started_it_and_ends_with_its_test(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path / "data")
    with ending_with_the_block():
        starting = threading.Thread(target=gateway.start)
        starting.start()
        starting.join()
        time.sleep(0.1)
        assert gateway.running()
        pids = gateway.processes()
    assert not gateway.running()
    wait_until_gone(pids)
