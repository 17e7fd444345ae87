"""TLS handshakes by the thousand that never end, at both listeners, while devices of another address are served."""

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from adapters.mqtt.codec_packets import Puback
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.siege import GOOD_ADDRESS, crowd, resident_mib
from tests.integration.test_mqtt_listener_tls import connect

# Beyond what both listeners take by default.
CROWD = 1200
# 576 handshakes over MQTT and 320 over HTTP, 80 KiB each there and 94 here (gateway/memory_shares.py), and what else
# grows when a gateway first serves. Measured: 72.
GROWTH_MIB_MAX = (576 * 80 + 320 * 94) / 1024 + 25


def post(url: str, ca_file: Path, body: bytes) -> int:
    """Return the status that the good device is told."""
    where = urlsplit(url)
    context = ssl.create_default_context(cafile=ca_file)
    connection = http.client.HTTPSConnection(
        where.netloc, timeout=60, source_address=(GOOD_ADDRESS, 0), context=context
    )
    connection.request("POST", where.path, body, {"Content-Type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    return status


async def test_a_crowd_of_unfinished_handshakes_keeps_no_device_out(tmp_path: Path) -> None:
    environment = {
        "GATEWAY_HTTP__TLS": "true",
        "GATEWAY_MQTT__LISTEN_TLS": "true",
        # Longer than the test: no deadline comes to the devices' help.
        "GATEWAY_HTTP__HEADER_TIMEOUT_S": "120",
        "GATEWAY_MQTT__CONNECT_TIMEOUT_S": "120",
    }
    with GatewayProcess(tmp_path / "data", environment=environment) as gateway:
        ca_file = gateway.data_dir / "tls" / "authority.pem"
        before = resident_mib(gateway.worker_pid)
        with crowd(gateway.http, CROWD, "silent", "tls"), crowd(gateway.mqtt, CROWD, "silent", "tls"):
            for number in range(3):
                port = int(gateway.mqtt.rpartition(":")[2])
                device = await connect(port, ca_file, f"good-{number}", local=GOOD_ADDRESS)
                device.publish(b'{"n": 1}', packet_id=7)
                assert await device.receive() == Puback(packet_id=7)
                device.abort()
                assert post(f"{gateway.http}/v1/devices/good/readings", ca_file, b'{"n": 1}') == 200
            growth = resident_mib(gateway.worker_pid) - before
    assert growth < GROWTH_MIB_MAX, f"{growth:.0f} MiB more"
