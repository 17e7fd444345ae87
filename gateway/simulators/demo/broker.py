"""The demo's broker: a real mosquitto with the shipped configuration, on a free port."""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from gateway.errors import OperatorError
from gateway.simulators.ports import free_port

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
# Lines of the shipped file that belong to one machine.
_LOCAL = ("listener", "persistence_location", "allow_anonymous")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


class DemoBroker:
    """Started once, stopped at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where devices and the gateway find it."""
        return f"mqtt://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Return when it accepts connections. Raises OperatorError."""
        program = shutil.which("mosquitto", path=_PATH)
        if program is None:
            raise OperatorError("mosquitto is not installed: apt-get install mosquitto")
        self._folder.mkdir(parents=True, exist_ok=True)
        conf = self._folder / "mosquitto.conf"
        conf.write_text("\n".join(self._lines()) + "\n")
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                program, "-c", str(conf), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        await self._answers()

    def _lines(self) -> list[str]:
        import config

        shipped = Path(config.__file__).with_name("mosquitto.conf").read_text().splitlines()
        kept = [line for line in shipped if not line.startswith(_LOCAL)]
        user = ["user root"] if os.geteuid() == 0 else []  # else it gives root up and can't write its folder
        return [
            f"listener {self._port} 127.0.0.1",
            "allow_anonymous true",
            f"persistence_location {self._folder.absolute()}/",
            *user,
            *kept,
        ]

    async def _answers(self) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while True:
                    with contextlib.suppress(OSError):
                        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                        writer.close()
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise OperatorError(f"mosquitto did not start: see {self._folder / 'mosquitto.log'}") from error

    async def stop(self) -> None:
        """Stop it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
