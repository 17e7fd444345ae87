"""Bluetooth that is off costs nothing: no library of it is loaded."""

import subprocess
import sys

CODE = """
import sys
from gateway.settings import Settings
import adapters
class Parts:
    intake = meter = clock = status = None
assert adapters.FACTORIES["ble"](Settings(), None) is None
from gateway.settings import BleSettings
adapters.FACTORIES["ble"](Settings(ble=BleSettings(enabled=True)), Parts)
assert not [name for name in sys.modules if name.split(".")[0] in {"bleak", "dbus_fast", "bleak_retry_connector"}]
"""


def test_no_bluetooth_library_is_loaded_while_ble_is_off() -> None:
    ended = subprocess.run([sys.executable, "-W", "error", "-c", CODE], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
