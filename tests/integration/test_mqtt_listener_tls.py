"""TLS at the listener: what a connection costs, and what becomes of sockets that never finish their handshake."""

import asyncio
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from adapters.mqtt.codec import encode
from adapters.mqtt.codec_packets import V3_1_1, Connack, Connect, Puback
from gateway.simulators.iot_hub.certificates import CertificateAuthority
from gateway.tls.server import LOOK_EVERY_S
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.mqtt_device import RawDevice
from tests.fakes.mqtt_listener import listening

CONNECTIONS = 100
# Measured: 50 KiB with its session (45 of them TLS: OpenSSL's state, and our buffer of 32 KiB). With asyncio's own
# buffer it is 272.
KIB_EACH_MAX = 75


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path / "authority")


@pytest.fixture
def files(authority: CertificateAuthority) -> dict[str, Any]:
    issued = authority.issue("server", common_name="localhost", for_server=True)
    return {"listen_certificate_file": issued.certificate, "listen_key_file": issued.key}


async def connect(port: int, ca_file: Path, client_id: str, local: str = "127.0.0.1") -> RawDevice:
    """Return a device that speaks TLS and was let in."""
    context = ssl.create_default_context(cafile=ca_file)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost", local_addr=(local, 0)
    )
    device = RawDevice(reader, writer, V3_1_1)
    device.send_bytes(encode(Connect(version=4, client_id=client_id, clean_start=True, keep_alive_s=0), V3_1_1))
    assert await device.receive() == Connack(code=0)
    return device


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(8):
        while not condition():  # noqa: ASYNC110 -- what is awaited has no event
            await asyncio.sleep(0.01)


def resident_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


async def test_an_idle_tls_connection_costs_little(
    tmp_path: Path, authority: CertificateAuthority, files: dict[str, Any]
) -> None:
    environment = {f"GATEWAY_MQTT__{key.upper()}": str(path) for key, path in files.items()}
    with GatewayProcess(tmp_path / "data", environment=environment) as gateway:
        port = int(gateway.mqtt.rpartition(":")[2])
        devices = [await connect(port, authority.ca_file, f"first-{n}") for n in range(5)]
        before = resident_kib(gateway.worker_pid)
        devices += [await connect(port, authority.ca_file, f"tls-{n}") for n in range(CONNECTIONS)]
        each = (resident_kib(gateway.worker_pid) - before) / CONNECTIONS
        for device in devices:
            device.abort()
    assert each < KIB_EACH_MAX, f"{each:.1f} KiB for each connection"


async def test_sockets_without_a_handshake_end_at_the_deadline(
    authority: CertificateAuthority, files: dict[str, Any]
) -> None:
    async with listening(connections_max=3, connect_timeout_s=0.4, **files) as under:
        silent = [await RawDevice.dial(under.port) for _ in range(3)]
        await until(lambda: len(under.listener._tls.connections) == 3)  # type: ignore[union-attr]
        for device in silent:
            assert await device.receive_until_closed() == []
            device.abort()
        assert under.disconnects("tls_handshake_failed") == 3
        served = await connect(under.port, authority.ca_file, "cam-1")
        served.publish(b"{}", packet_id=7)
        assert await served.receive() == Puback(packet_id=7)
        served.abort()


async def test_handshakes_that_one_address_never_ends_keep_nobody_out(
    authority: CertificateAuthority, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.tls.door.HANDSHAKES_MAX", 3)
    async with listening(connections_max=2, connect_timeout_s=60, **files) as under:
        served = await connect(under.port, authority.ca_file, "cam-1")
        crowd = [await RawDevice.dial(under.port) for _ in range(12)]
        # Of the crowd's own, the oldest make room for the youngest: no more than there is room for is ever held.
        await until(lambda: under.disconnects("gave_way") == 12 - (2 + 3 - 1))
        other = await connect(under.port, authority.ca_file, "cam-2", local="127.0.0.2")
        for device in (served, other):  # who was in stays in, who comes gets in
            device.publish(b"{}", packet_id=7)
            assert await device.receive() == Puback(packet_id=7)
        assert len(under.listener._tls.connections) <= 2 + 3  # type: ignore[union-attr]
        assert under.disconnects("too_many_connections") == 0
        for device in (served, other, *crowd):
            device.abort()


async def test_a_handshake_of_an_address_that_is_not_allowed_is_not_begun(files: dict[str, Any]) -> None:
    async with listening(allowed_networks=("10.0.0.0/8",), connect_timeout_s=60, **files) as under:
        async with await RawDevice.dial(under.port) as device:
            assert await device.receive_until_closed() == []
        assert under.disconnects("address_not_allowed") == 1


async def test_plain_mqtt_at_a_tls_port_is_counted_and_logged_with_its_reason(files: dict[str, Any]) -> None:
    with structlog.testing.capture_logs() as logs:
        async with listening(**files) as under, await RawDevice.dial(under.port) as device:
            device.send_bytes(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01x")
            await device.receive_bytes_until_closed()
            assert under.disconnects("tls_handshake_failed") == 1
    (told,) = [entry for entry in logs if entry["event"] == "mqtt_client_dropped"]
    assert told["reason"] == "tls_handshake_failed"
    assert "SSL" in told["detail"]


async def test_changed_certificate_is_shown_to_newcomers_and_open_connections_stay(
    authority: CertificateAuthority, files: dict[str, Any]
) -> None:
    async with listening(**files) as under:
        early = await connect(under.port, authority.ca_file, "cam-1")
        authority.issue("server", common_name="localhost", for_server=True)
        await asyncio.sleep(LOOK_EVERY_S)
        late = await connect(under.port, authority.ca_file, "cam-2")
        assert late.certificate != early.certificate
        for device in (early, late):
            device.publish(b"{}", packet_id=7)
            assert await device.receive() == Puback(packet_id=7)
            device.abort()


async def test_stop_cuts_what_never_finished_its_handshake(files: dict[str, Any]) -> None:
    async with listening(**files) as under:
        device = await RawDevice.dial(under.port)
        await until(lambda: len(under.listener._tls.connections) == 1)  # type: ignore[union-attr]
    assert await device.receive_until_closed() == []
    device.abort()


async def test_device_that_knows_no_tls_is_served_where_its_address_is_listed(
    authority: CertificateAuthority, files: dict[str, Any]
) -> None:
    async with listening(**files, listen_plain_networks=("127.0.0.1/32",), connect_timeout_s=0.5) as under:
        plain = await RawDevice.connect(under.port, client_id="old-1")
        secured = await connect(under.port, authority.ca_file, "new-1")
        await asyncio.sleep(0.7)  # no handshake's deadline ends it
        # Larger than the buffer of the handshake.
        for device, payload in ((plain, b'{"a": "' + b"x" * 60_000 + b'"}'), (secured, b"{}")):
            device.publish(payload, packet_id=7)
            assert await device.receive() == Puback(packet_id=7)
            device.abort()
    assert under.disconnects("tls_handshake_failed") == 0
