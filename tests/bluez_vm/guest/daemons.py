"""dbus-daemon and bluetoothd in the guest, as a site runs them."""

import os
import signal
import subprocess
import time
from pathlib import Path

OUT = Path("/run/out")
SYSTEM_BUS = Path("/run/dbus/system_bus_socket")
# The adapter is switched on as soon as it is there: Debian's bluetoothd from 5.65 on does it by itself.
MAIN_CONF = "[Policy]\nAutoEnable=true\n"
STOP_TIMEOUT_S = 20.0


class Daemon:
    """A program of the guest that may be started again."""

    def __init__(self, name: str, *command: str) -> None:
        self._name = name
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (OUT / f"{self._name}.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Return when it has ended."""
        assert self._process is not None
        self._process.send_signal(with_signal)
        self._process.wait(STOP_TIMEOUT_S)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None


def system_bus() -> Daemon:
    """Return the bus, started and listening."""
    daemon = Daemon("dbus-daemon", "dbus-daemon", "--system", "--nofork", "--nopidfile", "--nosyslog")
    daemon.start()
    give_up_at = time.monotonic() + STOP_TIMEOUT_S
    while not SYSTEM_BUS.exists():
        assert time.monotonic() < give_up_at, "dbus-daemon does not listen"
        time.sleep(0.05)
    return daemon


def bluetoothd() -> Daemon:
    """Return bluetoothd, not started."""
    settings = Path("/run/bluetooth-main.conf")
    settings.write_text(MAIN_CONF)
    return Daemon("bluetoothd", os.environ["BLUETOOTHD"], "--nodetach", "--debug", f"--configfile={settings}")
