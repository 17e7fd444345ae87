"""A real gateway in a process of its own: the demo model, free ports, a data directory of the test's.

It ends with the process of the tests and, at the latest, with its test (tests/fakes/child_process.py).
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import requests

from tests.fakes.canary import THE_CANARY
from tests.fakes.child_process import start_child

ROOT = Path(__file__).resolve().parents[2]
DEMO_MODEL = ROOT / "config" / "models" / "fruit"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


class GatewayProcess:
    """Starts ``gateway run`` and knows where it listens. Use as a context manager; ``kill`` is kill -9 of all of it."""

    def __init__(
        self,
        data_dir: Path,
        *,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        supervised: bool = True,
        model: Path = DEMO_MODEL,
        slowness: float = 1,
        prefix: Sequence[str] = (),
    ) -> None:
        """``prefix`` is a command that executes what follows it, in place."""
        self.data_dir = data_dir
        # How many times longer than on a plain machine everything may take.
        self._slowness = slowness
        self.log_file = data_dir.parent / f"{data_dir.name}.log"
        self._prefix = prefix
        self._arguments = [*arguments, *([] if supervised else ["--unsupervised"])]
        self._environment = {
            "GATEWAY_GATEWAY__DATA_DIR": str(data_dir),
            "GATEWAY_GATEWAY__ID": "gw-test",
            "GATEWAY_HTTP__LISTEN": "127.0.0.1:0",
            "GATEWAY_ADMIN__LISTEN": "127.0.0.1:0",
            "GATEWAY_MQTT__LISTEN": "127.0.0.1:0",
            "GATEWAY_MODEL__PATH": str(model),
            **(environment or {}),
        }
        self._process: subprocess.Popen[str] | None = None
        self.banner = ""
        self.http = ""
        self.admin = ""
        self.mqtt = ""

    def start(self) -> Self:
        """Return when the banner is out, that is when devices are served."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_", "IOTHUB_"))}
        with self.log_file.open("a") as log:
            self._process = start_child(
                [*self._prefix, sys.executable, "-m", "gateway", "run", *self._arguments],
                cwd=ROOT,
                env=inherited | self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._read_banner()
        return self

    def await_restart(self) -> None:
        """Return when its parent has started it again and devices are served."""
        self._read_banner()

    def _read_banner(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        lines = []
        deadline = time.monotonic() + START_TIMEOUT_S * self._slowness
        for line in self._process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
            assert time.monotonic() < deadline, "no banner in time"
        self.banner = "".join(lines)
        assert "Ctrl-C" in self.banner, f"the gateway did not start:\n{self.banner}{self.log_file.read_text()[-3000:]}"
        urls = re.findall(r"https?://127\.0\.0\.1:\d+", self.banner)
        self.http = urls[0]
        self.admin = urls[1] if len(urls) > 1 else ""
        listener = re.search(r"mqtts?://127\.0\.0\.1:\d+", self.banner)
        self.mqtt = listener[0] if listener else ""

    @property
    def pid(self) -> int:
        """The parent's; see ``worker_pid``."""
        assert self._process is not None
        return self._process.pid

    @property
    def worker_pid(self) -> int:
        """The process that serves."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(children[0]) if children else self.pid

    def processes(self) -> list[int]:
        """Return the ids of all of it: parent, gateway, the SDK's process."""
        return [self.pid, *self._descendants(self.pid)]

    def kill(self) -> None:
        """Kill -9 every process of the gateway at once; return when none holds a file any more."""
        assert self._process is not None
        pids = self._signal_all(signal.SIGKILL)
        self._process.wait(STOP_TIMEOUT_S * self._slowness)
        _wait_for_threads(pids, states="ZX")
        self._close()

    def freeze(self) -> None:
        """Stop every process of the gateway where it stands; return when no thread of it runs or is in the kernel."""
        pids = self._signal_all(signal.SIGSTOP)
        _wait_for_threads(pids, states="TZX")

    def thaw(self) -> None:
        """Let it run on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> list[int]:
        """Signal every process of the gateway, the youngest first, and return their ids."""
        pids = [*self._descendants(self.pid), self.pid]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def stop(self) -> int:
        """Stop as Ctrl-C does; returns the exit code. Fails when that takes longer than Docker would wait."""
        assert self._process is not None
        self._look_at_its_faces()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_TIMEOUT_S * self._slowness)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._close()
        return code

    def _look_at_its_faces(self) -> None:
        """Scan what it tells whoever asks, if it still answers."""
        for path in ("/metrics", "/healthz", "/openapi.json") if self.admin else ():
            with contextlib.suppress(requests.RequestException):
                THE_CANARY.look_at(requests.get(f"{self.admin}{path}", timeout=1).text, f"{path} of {self.data_dir}")

    def wait(self, timeout_s: float) -> int:
        """Return the exit code of a gateway that ends by itself."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        self._show_to_canary()
        return code

    def running(self) -> bool:
        """Tell whether the parent is alive."""
        return self._process is not None and self._process.poll() is None

    def _descendants(self, pid: int) -> list[int]:
        found: list[int] = []
        with contextlib.suppress(FileNotFoundError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                found += [int(child), *self._descendants(int(child))]
        return found

    def _show_to_canary(self) -> None:
        log = self.log_file.read_text(errors="replace")
        THE_CANARY.look_at(self.banner + log, f"what the gateway of {self.data_dir} wrote")

    def _close(self) -> None:
        self._show_to_canary()
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def post_picture(self, data: bytes, *, key: str | None = None, timeout_s: float = 30) -> requests.Response:
        """Send a picture by the native API."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return requests.post(f"{self.http}/v1/devices/cam-1/images", data=data, headers=headers, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.running():
            self.stop() if kind is None else self.kill()
        elif self._process is not None:
            self._close()


def _wait_for_threads(pids: Sequence[int], *, states: str) -> None:
    """Return when every thread of these processes is gone or in one of ``states`` (letters of proc(5))."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while any(state not in states for pid in pids for state in _thread_states(pid)) and time.monotonic() < deadline:
        time.sleep(0.005)


def _thread_states(pid: int) -> Iterator[str]:
    """Yield the state of each thread; the first may be a zombie while another ends its fsync."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                # proc(5): the state follows the command's name, which is in brackets and may hold anything.
                yield (thread / "stat").read_text().rpartition(")")[2].split()[0]
