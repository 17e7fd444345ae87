"""What goes wrong between the gateway and a broker: each case is named with its cure, survived, and loses nothing."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography.hazmat.primitives import serialization

from adapters.mqtt.broker_diagnosis import Lost
from adapters.mqtt.broker_link import BrokerLink
from gateway.errors import AdapterUnavailable
from gateway.simulators.iot_hub.certificates import CertificateAuthority
from tests.fakes.broker_client import READINGS, make_client, running_client
from tests.fakes.canary import secret
from tests.fakes.ingest import FakeIngest
from tests.fakes.intake import RecordingMeter
from tests.fakes.mosquitto import BrokerTls, Mosquitto, Publisher, end_device, needs_mosquitto, until

CONNACK_ACCEPTED = b"\x20\x02\x00\x00"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path / "authority")


def tls_of(authority: CertificateAuthority, *, ask: bool = False) -> BrokerTls:
    files = authority.issue("server", common_name="localhost", for_server=True)
    return BrokerTls(
        certificate_file=files.certificate, key_file=files.key, ca_file=authority.ca_file, require_certificate=ask
    )


async def refused_start(url: str, tmp_path: Path, **settings: Any) -> Lost:
    """Start where that must fail; returns why, after a stop as the supervisor would do it."""
    client = make_client(url, tmp_path, FakeIngest(), **settings)
    with pytest.raises(AdapterUnavailable) as caught:
        await client.start()
    await client.stop(4)
    assert isinstance(caught.value, Lost)
    return caught.value


class ScriptedBroker:
    """Accepts connections and answers the first packet of each with the next of ``scripts``; None closes.

    A script in parts is sent with pauses between them.
    """

    def __init__(self, *scripts: bytes | tuple[bytes, ...] | None) -> None:
        self._scripts = list(scripts)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self._server.getsockname()[1]}"

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.connections += 1
                self._open.append(connection)
                connection.recv(4096)
                script = self._scripts.pop(0) if self._scripts else None
                if script is None:
                    connection.close()
                else:
                    self._send(connection, (script,) if isinstance(script, bytes) else script)

    def _send(self, connection: socket.socket, parts: tuple[bytes, ...]) -> None:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.1 if len(parts) > 1 else 0)

    def close(self) -> None:
        self._server.close()
        for connection in self._open:
            connection.close()


@contextlib.contextmanager
def scripted(*scripts: bytes | tuple[bytes, ...] | None) -> Iterator[ScriptedBroker]:
    broker = ScriptedBroker(*scripts)
    try:
        yield broker
    finally:
        broker.close()


# --- not let in: start says why -----------------------------------------------------------------------


async def test_no_broker_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    lost = await refused_start(f"mqtt://127.0.0.1:{port}", tmp_path)
    assert lost.reason == "connection_refused"


async def test_an_unknown_name(tmp_path: Path) -> None:
    assert (await refused_start("mqtt://no-such-host.invalid", tmp_path)).reason == "name_unknown"


@pytest.mark.parametrize(("code", "reason"), [(1, "protocol_refused"), (3, "broker_unavailable"), (4, "login_refused")])
async def test_a_broker_that_refuses_us(tmp_path: Path, code: int, reason: str) -> None:
    with scripted(bytes([0x20, 2, 0, code])) as broker:
        assert (await refused_start(broker.url, tmp_path)).reason == reason


async def test_a_broker_that_closes_at_once(tmp_path: Path) -> None:
    with scripted(None) as broker:
        assert (await refused_start(broker.url, tmp_path)).reason in {"closed_at_connect", "connection_reset"}


async def test_a_port_that_says_nothing(tmp_path: Path) -> None:
    with scripted(b"") as broker:
        lost = await refused_start(broker.url, tmp_path, connect_timeout_s=0.3)
    assert lost.reason == "timeout"


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x20\xff\xff\xff\xff\xff", b"\x30\x00", b"\xf0\x00"])
async def test_a_port_that_is_no_mqtt_broker(tmp_path: Path, words: bytes) -> None:
    with scripted(words) as broker:
        lost = await refused_start(broker.url, tmp_path, connect_timeout_s=0.5)
    assert lost.reason in {"protocol_error", "timeout"}


@needs_mosquitto
async def test_a_wrong_password(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker", passwords={"gw": secret("right-password")}) as broker:
        lost = await refused_start(broker.url, tmp_path, username="gw", password=secret("wrong-password"))
        assert lost.reason == "not_authorised"
        assert "mqtt.password_file" in lost.cure
        async with running_client(broker.url, tmp_path, FakeIngest(), username="gw", password="right-password"):
            pass


@needs_mosquitto
async def test_a_subscription_that_is_not_allowed(tmp_path: Path) -> None:
    # mosquitto grants any filter at SUBSCRIBE and checks at delivery, so a scripted broker refuses here.
    with scripted(CONNACK_ACCEPTED + b"\x90\x07\x00\x01\x80\x80\x80\x80\x80") as broker:
        lost = await refused_start(broker.url, tmp_path)
    assert lost.reason == "subscription_refused"
    assert "devices/+/images" in lost.detail


# --- TLS ----------------------------------------------------------------------------------------------


@needs_mosquitto
async def test_tls_with_a_client_certificate(tmp_path: Path, authority: CertificateAuthority) -> None:
    ours = authority.issue_device("gw-1")
    ingest = FakeIngest()
    with Mosquitto(tmp_path / "broker", tls=tls_of(authority, ask=True)) as broker:
        options = {"ca_file": authority.ca_file, "certificate_file": ours.certificate, "key_file": ours.key}
        async with running_client(broker.url, tmp_path, ingest, **options) as client:
            with tls_publisher(broker, authority, ours.certificate, ours.key) as publish:
                for number in range(200):
                    publish(READINGS, b"%d" % number + b" " * 5000)
                await until(lambda: len(ingest.stored) == 200)
            assert client.describe() == broker.url
        assert (await refused_start(broker.url, tmp_path, ca_file=authority.ca_file)).reason in {
            "our_certificate_refused",
            "closed_at_connect",
            "closed",
        }


@needs_mosquitto
async def test_certificates_that_are_not_to_be_trusted(tmp_path: Path, authority: CertificateAuthority) -> None:
    stranger = CertificateAuthority(tmp_path / "stranger")
    with Mosquitto(tmp_path / "broker", tls=tls_of(authority)) as broker:
        lost = await refused_start(broker.url, tmp_path, ca_file=stranger.ca_file)
        assert lost.reason == "certificate_untrusted"
        assert "mqtt.ca_file" in lost.cure
        assert (await refused_start(broker.url, tmp_path)).reason == "certificate_untrusted"


@needs_mosquitto
async def test_tls_spoken_to_a_plain_port_and_the_other_way_round(
    tmp_path: Path, authority: CertificateAuthority, broker: Mosquitto
) -> None:
    lost = await refused_start(f"mqtts://localhost:{broker.port}", tmp_path, ca_file=authority.ca_file)
    assert lost.reason in {"not_tls", "closed", "connection_reset"}
    with Mosquitto(tmp_path / "tls", tls=tls_of(authority)) as tls_broker:
        lost = await refused_start(f"mqtt://localhost:{tls_broker.port}", tmp_path, connect_timeout_s=1)
        assert lost.reason in {"closed_at_connect", "protocol_error", "connection_reset"}
        assert "mqtts://" in lost.cure or lost.reason == "connection_reset"


async def test_tls_files_that_can_not_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "absent.pem"):
        lost = await refused_start("mqtts://127.0.0.1:1", tmp_path, ca_file=tmp_path / name)
        assert lost.reason == "tls_files_unusable"
        assert "mqtt.ca_file" in lost.cure


async def test_an_encrypted_key_is_told_and_nobody_is_asked_on_the_terminal(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    ours = authority.issue_device("gw-1")
    plain = serialization.load_pem_private_key(ours.key.read_bytes(), password=None)
    encrypted = tmp_path / "encrypted.key"
    encrypted.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    files = {"ca_file": authority.ca_file, "certificate_file": ours.certificate, "key_file": encrypted}
    lost = await refused_start("mqtts://127.0.0.1:1", tmp_path, **files)
    assert lost.reason == "tls_files_unusable"
    assert "not encrypted" in lost.cure


@needs_mosquitto
async def test_a_changed_authority_is_noticed_and_its_new_file_used_without_a_restart(
    tmp_path: Path, authority: CertificateAuthority, short_waits: None
) -> None:
    heir = CertificateAuthority(tmp_path / "heir")
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.ca_file.read_bytes())
    ingest, meter = FakeIngest(), RecordingMeter()
    with Mosquitto(tmp_path / "broker", tls=tls_of(authority)) as broker:
        async with running_client(broker.url, tmp_path, ingest, meter=meter, ca_file=ca_file) as client:
            broker.tls = tls_of(heir)
            broker.restart()
            await until(lambda: meter.counts("gateway_mqtt_broker_sessions_total", reason="certificate_untrusted") > 0)
            assert "not connected" in client.describe()
            ca_file.write_bytes(heir.ca_file.read_bytes())
            await until(lambda: client.describe() == broker.url)


# --- lost later: connected again ----------------------------------------------------------------------


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.mqtt.broker.BACKOFF_MAX_S", 0.2)
    # A scripted broker does not close when we take leave; a real one does at once.
    monkeypatch.setattr("adapters.mqtt.broker_link.FLUSH_S", 0.1)


@needs_mosquitto
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_the_end_of_the_broker_is_survived(
    broker: Mosquitto, tmp_path: Path, end: str, short_waits: None
) -> None:
    ingest = FakeIngest()
    async with running_client(broker.url, tmp_path, ingest):
        with Publisher(broker) as device:
            device.publish("before", READINGS, b"before")
            await until(lambda: ingest.payloads == [b"before"])
            getattr(broker, end)()
            await asyncio.sleep(0.3)
            broker.start()
            device.publish("after", READINGS, b"after")
            await until(lambda: b"after" in ingest.payloads)


@needs_mosquitto
async def test_a_redelivery_never_overtakes_its_original(broker: Mosquitto, tmp_path: Path, short_waits: None) -> None:
    ingest = FakeIngest()
    ingest.gate.clear()
    async with running_client(broker.url, tmp_path, ingest):
        with Publisher(broker) as device:
            device.publish("1", READINGS, b"one")
            await until(lambda: len(ingest.taken) == 1)
            broker.restart()
            await asyncio.sleep(0.5)
            assert len(ingest.taken) == 1, "it came again while the first was still being committed"
            ingest.gate.set()
            await until(lambda: len(ingest.taken) == 2)
    assert ingest.taken[1].dup
    assert ingest.payloads == [b"one"]


@needs_mosquitto
async def test_a_half_open_link_is_noticed_by_silence(broker: Mosquitto, tmp_path: Path, short_waits: None) -> None:
    ingest, meter = FakeIngest(), RecordingMeter()
    async with running_client(broker.url, tmp_path, ingest, meter=meter, connect_timeout_s=1) as client:
        assert client._connection is not None
        client._connection.link._keepalive.keepalive_s = 0.5  # the least setting, 5, would keep the test waiting
        broker.suspend()
        await until(lambda: meter.counts("gateway_mqtt_broker_sessions_total", reason="silent") == 1)
        broker.resume()
        await until(lambda: client.describe() == broker.url)


@needs_mosquitto
async def test_a_second_client_of_our_name_is_told(broker: Mosquitto, tmp_path: Path, short_waits: None) -> None:
    import paho.mqtt.client as mqtt

    async with running_client(broker.url, tmp_path, FakeIngest()) as client:
        with structlog.testing.capture_logs() as logs:
            twin = mqtt.Client("gw-1")
            twin.connect("127.0.0.1", broker.port)
            twin.loop_start()
            await until(lambda: any(entry["event"] == "mqtt_broker_lost" for entry in logs))
            end_device(twin)
            await until(lambda: client.describe() == broker.url)
    told = next(entry for entry in logs if entry["event"] == "mqtt_broker_lost")
    assert "mqtt.client_id" in told["cure"]


GRANTED = b"\x90\x07\x00\x01" + bytes(5)
PUBLISH = b"\x32\x11\x00\x0ddevices/d1/r1\x00\x05"


@pytest.mark.parametrize(
    "poison",
    [
        b"\x32\x01\x00",  # a PUBLISH too short for a topic length
        b"\x32\x03\x00\x09x",  # a topic longer than its packet
        b"\x36\x05\x00\x01x\x00\x07",  # QoS 3
        b"\x32\x04\x00\x00\x00\x07",  # an empty topic
        b"\x32\x04\x00\x01x\x00",  # half a packet id
        b"\x00\x00",  # no such packet
        b"\x40\x01\x00",  # half a PUBACK
        b"\x90\x00",  # an empty SUBACK
        b"\xd0\x03abc",  # a PINGRESP with a body
    ],
)
async def test_the_network_thread_survives_what_is_no_mqtt(tmp_path: Path, poison: bytes, short_waits: None) -> None:
    meter, ingest = RecordingMeter(), FakeIngest()
    sane = CONNACK_ACCEPTED + GRANTED + PUBLISH
    with scripted((CONNACK_ACCEPTED + GRANTED, poison), sane) as broker:
        async with running_client(broker.url, tmp_path, ingest, meter=meter):
            await until(lambda: len(ingest.taken) == 1)
    assert meter.counts("gateway_mqtt_broker_sessions_total", reason="protocol_error") == 1


async def test_a_topic_that_is_no_utf8_is_taken_so_that_it_can_be_refused(tmp_path: Path, short_waits: None) -> None:
    ingest = FakeIngest()
    with scripted(CONNACK_ACCEPTED + GRANTED + b"\x32\x07\x00\x03a\xff\xfe\x00\x05") as broker:
        async with running_client(broker.url, tmp_path, ingest):
            await until(lambda: len(ingest.taken) == 1)
    assert ingest.taken[0].topic == r"a\xff\xfe"


@needs_mosquitto
async def test_the_network_thread_survives_an_error_of_its_own(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_waits: None
) -> None:
    ingest, meter = FakeIngest(), RecordingMeter()
    original = BrokerLink._deliver
    calls = iter([True, False, False])

    def faulty(*arguments: object) -> None:
        if next(calls):
            raise ZeroDivisionError("a bug of ours")
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(BrokerLink, "_deliver", faulty)
    async with running_client(broker.url, tmp_path, ingest, meter=meter):
        with Publisher(broker) as device:
            device.publish("1", READINGS, b"one")
            await until(lambda: len(ingest.stored) == 1)
    assert ingest.stored[0].dup
    assert meter.counts("gateway_mqtt_broker_sessions_total", reason="network_thread_failed") == 1


async def test_stopping_while_the_broker_does_not_answer_keeps_the_deadline(tmp_path: Path) -> None:
    with scripted(b"") as broker:
        client = make_client(broker.url, tmp_path, FakeIngest())
        starting = asyncio.create_task(client.start())
        await until(lambda: broker.connections == 1)
        starting.cancel()
        async with asyncio.timeout(4.5):
            await client.stop(4)


@contextlib.contextmanager
def tls_publisher(
    broker: Mosquitto, authority: CertificateAuthority, certificate: Path, key: Path
) -> Iterator[Callable[[str, bytes], object]]:
    import paho.mqtt.client as mqtt

    device = mqtt.Client("tls-device")
    context = ssl.create_default_context(cafile=authority.ca_file)
    context.load_cert_chain(certificate, key)
    device.tls_set_context(context)
    device.connect("localhost", broker.port)
    device.loop_start()
    try:
        yield lambda topic, payload: device.publish(topic, payload, qos=1)
    finally:
        end_device(device)
