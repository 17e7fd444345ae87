"""The whole gateway with Bluetooth on, on a machine that has none."""

from pathlib import Path

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.pictures import small_picture


def test_gateway_without_bluetooth_says_the_cure_and_serves_the_others(tmp_path: Path) -> None:
    environment = {"GATEWAY_BLE__ENABLED": "true", "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path / 'none'}"}
    gateway = GatewayProcess(tmp_path / "data", environment=environment).start()
    try:
        assert gateway.post_picture(small_picture()).status_code == 200
    finally:
        gateway.stop()
    told = [line for line in gateway.log_file.read_text().splitlines() if "no D-Bus system bus" in line]
    assert told
    assert "apt-get install bluez" in told[0]
    assert "Traceback" not in gateway.log_file.read_text()
