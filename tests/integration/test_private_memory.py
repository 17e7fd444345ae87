"""What is in the gateway's memory stays there: no core dumps, nothing in command lines, no look from outside."""

import subprocess
import sys
from pathlib import Path

from tests.fakes.gateway_process import ROOT, GatewayProcess
from tests.fakes.hub import hub_in_thread

NOBODY = 65534
DUMPING = ("prlimit", "--core=unlimited")
# The owner of a process's files in /proc is root as soon as the process is closed to its own user (proc(5)).
OWNER = """
import ctypes, os
from gateway.confidential import keep_memory_private
if os.geteuid() == 0:
    os.setgid({nobody})
    os.setuid({nobody})
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # changing the user has closed it already: open again
before = os.stat("/proc/self/environ").st_uid
keep_memory_private()
print(before == os.geteuid(), os.stat("/proc/self/environ").st_uid)
# What the gateway itself reads there still can be read (control.py, mounts.py, heap.py).
folder = os.open("/", os.O_DIRECTORY)
assert os.path.isdir(f"/proc/self/fd/{{folder}}/proc")
for name in ("mountinfo", "status", "statm"):
    assert open(f"/proc/self/{{name}}").read()
"""


def core_limit(pid: int) -> str:
    """Return the soft limit of a process's core dumps."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in lines if line.startswith("Max core file size")).split()[4]


def descendants(pid: int) -> list[int]:
    children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(inner for child in children for inner in descendants(child))]


def test_a_private_process_is_closed_to_its_own_user() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OWNER.format(nobody=NOBODY)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True 0\n"


def test_no_process_of_the_gateway_dumps_or_shows_a_key_in_its_command_line(tmp_path: Path) -> None:
    with (
        hub_in_thread(tmp_path) as hub,
        GatewayProcess(tmp_path / "data", environment=hub.environment(), prefix=DUMPING) as gateway,
    ):
        assert gateway.post_picture((ROOT / "examples" / "banana-ripe.jpg").read_bytes()).status_code == 200
        pids = [gateway.pid, *descendants(gateway.pid)]
        key = hub.connection_string().partition("SharedAccessKey=")[2].encode()
        assert len(pids) == 3, "the parent, the worker, the SDK's process"
        assert [core_limit(pid) for pid in pids] == ["unlimited", "0", "0"]
        for pid in pids:
            assert key not in Path(f"/proc/{pid}/cmdline").read_bytes()
            assert key not in Path(f"/proc/{pid}/comm").read_bytes()


def test_a_core_dump_can_be_asked_for(tmp_path: Path) -> None:
    environment = {"GATEWAY_GATEWAY__CORE_DUMPS": "true"}
    with GatewayProcess(tmp_path / "data", environment=environment, prefix=DUMPING) as gateway:
        assert core_limit(gateway.worker_pid) == "unlimited"
