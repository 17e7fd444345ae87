"""The demo's gateway: a real ``gateway run`` in a process of its own, on ports that stay, killed and started again."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import OperatorError
from gateway.simulators.ports import free_port

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
LOG_NAME = "gateway.log"


class DemoGateway:
    """Started, killed, started: the data directory and the ports stay."""

    def __init__(self, folder: Path, *, gateway_id: str, environment: Mapping[str, str]) -> None:
        self.data_dir = folder / "data"
        self.http = f"http://127.0.0.1:{free_port()}"
        self.mqtt = f"mqtt://127.0.0.1:{free_port()}"
        self.starts = 0
        self.kills = 0
        self._log = folder / LOG_NAME
        self._environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_", "IOTHUB_"))
        }
        self._environment |= {
            "GATEWAY_GATEWAY__DATA_DIR": str(self.data_dir),
            "GATEWAY_GATEWAY__ID": gateway_id,
            "GATEWAY_HTTP__LISTEN": self.http.removeprefix("http://"),
            "GATEWAY_MQTT__LISTEN": self.mqtt.removeprefix("mqtt://"),
            "GATEWAY_ADMIN__ENABLED": "false",
            **environment,
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def is_up(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Return when it serves. Raises OperatorError with the end of its log."""
        with self._log.open("ab") as log:
            # Unsupervised: a kill here is of all of it, and the demo itself starts it again.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "gateway", "run", "--unsupervised"),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._banner(self._process)
        except TimeoutError as error:
            raise OperatorError(f"the gateway did not start in {START_TIMEOUT_S:g} s: see {self._log}") from error
        self.starts += 1

    async def _banner(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            if b"Ctrl-C" in line:
                return
        tail = self._log.read_text(errors="replace").splitlines()[-5:]
        raise OperatorError("the gateway did not start:\n" + "\n".join(tail))

    async def kill(self) -> None:
        """Kill -9, and return when it is gone."""
        self.kills += 1
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        """Stop as systemd does."""
        await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if how is signal.SIGKILL:
                os.killpg(process.pid, how)  # the SDK's child too
            else:
                process.send_signal(how)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
