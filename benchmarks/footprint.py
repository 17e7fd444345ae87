"""Memory and start time of the gateway's processes; the bare side is Python with the same runtime and model alone."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figure import ROOT, Figure, model_folder, photograph, rss_mb
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.hub import hub_in_thread

PICTURES = 20
BARE = """
import sys
from benchmarks.bare_classify import once
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1); interpreter.allocate_tensors()
picture = open(sys.argv[2], "rb").read()
for _ in range(20): once(interpreter, int(interpreter.get_input_details()[0]["shape"][1]), picture)
print([int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")][0] / 1024)
"""


def measure() -> Iterator[Figure]:
    """Yield RSS after some pictures, of each process, and the time to readiness."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture = folder / "picture.jpg"
        picture.write_bytes(photograph())
        with hub_in_thread(folder) as hub:
            started = time.monotonic()
            environment = {**hub.environment(), "GATEWAY_MODEL__WORKERS": "1"}
            with GatewayProcess(folder / "data", environment=environment, model=model_folder()) as gateway:
                ready_s = time.monotonic() - started
                for _ in range(PICTURES):
                    gateway.post_picture(picture.read_bytes()).raise_for_status()
                while not hub.messages:
                    time.sleep(0.05)
                yield from _figures(gateway, picture, ready_s)


def _figures(gateway: GatewayProcess, picture: Path, ready_s: float) -> Iterator[Figure]:
    command = [sys.executable, "-c", BARE, str(model_folder() / "model.tflite"), str(picture)]
    bare = float(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)
    main = rss_mb(gateway.worker_pid)
    child = Path(f"/proc/{gateway.worker_pid}/task/{gateway.worker_pid}/children").read_text().split()
    yield Figure(
        name="RSS of the main process, one interpreter",
        ours=f"{main:.0f} MB",
        bare=f"{bare:.0f} MB",
        ratio=main / bare,
        aim="≤ 120 MB",
    )
    yield Figure(
        name="RSS of the SDK's process",
        ours=f"{sum(rss_mb(int(pid)) for pid in child):.0f} MB",
        bare="",
        ratio=None,
    )
    yield Figure(name="RSS of the parent", ours=f"{rss_mb(gateway.pid):.0f} MB", bare="", ratio=None)
    yield Figure(name="start to ready", ours=f"{ready_s:.2f} s", bare="", ratio=None)
