"""TLS at both listeners of a real gateway: its local certificate, devices' certificates, revoking, networks."""

import asyncio
import hashlib
import http.client
import json
import re
import shutil
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from typer.testing import CliRunner

from adapters.mqtt.codec import encode
from adapters.mqtt.codec_packets import V3_1_1, Connack, Connect, Puback
from gateway.cli import app
from gateway.memory_shares import HTTP_CONNECTION_BYTES, TLS_CONNECTION_BYTES
from gateway.simulators.iot_hub.certificates import CertificateAuthority, CertificateFiles
from tests.fakes.gateway_process import ROOT, GatewayProcess
from tests.fakes.mqtt_device import RawDevice
from tests.fakes.pictures import small_picture
from tests.integration.test_device_access import NOTICED_S, token_of
from tests.integration.test_mqtt_listener_tls import resident_kib

PICTURE = small_picture()


def devices(data_dir: Path, *arguments: str) -> str:
    """Return what ``gateway devices`` says; in this process, which saves a second."""
    done = CliRunner().invoke(app, ["devices", *arguments, "--set", f"gateway.data_dir={data_dir}"])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def site(folder: Path) -> CertificateAuthority:
    """The authority that the site's devices have their certificates of."""
    return CertificateAuthority(folder / "authority")


@pytest.fixture(scope="module")
def token(folder: Path) -> str:
    return token_of(devices(folder / "data", "add", "cam-1"))


@pytest.fixture(scope="module")
def gateway(folder: Path, site: CertificateAuthority, token: str) -> Iterator[GatewayProcess]:
    environment = {
        "GATEWAY_HTTP__TLS": "true",
        "GATEWAY_HTTP__CLIENT_CERTIFICATES": "optional",
        "GATEWAY_HTTP__ACCESS": "authenticated",
        "GATEWAY_MQTT__LISTEN_TLS": "true",
        "GATEWAY_MQTT__LISTEN_CLIENT_CERTIFICATES": "optional",
        "GATEWAY_MQTT__ACCESS": "authenticated",
        "GATEWAY_TLS__CLIENT_CA_FILE": str(site.ca_file),
        "GATEWAY_TLS__NAMES": '["gateway.farm.example"]',
    }
    with GatewayProcess(folder / "data", environment=environment) as running:
        yield running


def trusting(gateway: GatewayProcess, shown: CertificateFiles | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=gateway.data_dir / "tls" / "authority.pem")
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def post(
    gateway: GatewayProcess,
    shown: CertificateFiles | None = None,
    *,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, object]]:
    """Send a picture as device "claimed"; return status and answer."""
    where = urlsplit(gateway.http)
    assert where.scheme == "https"
    connection = http.client.HTTPSConnection("localhost", where.port, context=trusting(gateway, shown), timeout=30)
    try:
        connection.request("POST", "/v1/devices/claimed/images", PICTURE, headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def event_status(
    gateway: GatewayProcess,
    device_id: str,
    item_id: str,
    shown: CertificateFiles | None = None,
    *,
    headers: dict[str, str] | None = None,
) -> int:
    where = urlsplit(gateway.http)
    connection = http.client.HTTPSConnection("localhost", where.port, context=trusting(gateway, shown), timeout=30)
    try:
        connection.request("GET", f"/v1/devices/{device_id}/events/{item_id}", headers=headers or {})
        return connection.getresponse().status
    finally:
        connection.close()


async def logged_in(
    gateway: GatewayProcess, shown: CertificateFiles | None, login: tuple[str, str] | None = None
) -> tuple[RawDevice, int]:
    """Return an MQTT connection and the code of its CONNACK."""
    where = urlsplit(gateway.mqtt)
    assert where.scheme == "mqtts"
    tls = trusting(gateway, shown)
    reader, writer = await asyncio.open_connection("127.0.0.1", where.port, ssl=tls, server_hostname="localhost")
    device = RawDevice(reader, writer, V3_1_1)
    username, password = login or (None, None)
    connect = Connect(
        version=4,
        client_id="claimed",
        clean_start=True,
        keep_alive_s=0,
        username=username,
        password=None if password is None else password.encode(),
    )
    device.send_bytes(encode(connect, V3_1_1))
    answer = await device.receive()
    assert isinstance(answer, Connack)
    return device, answer.code


def test_local_certificate_never_runs_out_covers_the_host_and_its_keys_are_the_owners_alone(
    gateway: GatewayProcess,
) -> None:
    tls = gateway.data_dir / "tls"
    for name in ("authority.key", "server.key"):
        assert stat.S_IMODE((tls / name).stat().st_mode) == 0o600
    certificate = x509.load_pem_x509_certificate((tls / "server.pem").read_bytes())
    assert (certificate.not_valid_before_utc.year, certificate.not_valid_after_utc.year) == (1970, 9999)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "gateway.farm.example"} <= set(names.get_values_for_type(x509.DNSName))
    assert "127.0.0.1" in {str(address) for address in names.get_values_for_type(x509.IPAddress)}


def test_start_tells_how_each_listener_stands(gateway: GatewayProcess) -> None:
    authority = (gateway.data_dir / "tls" / "authority.pem").read_text()
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority)).digest().hex(":").upper()
    assert gateway.banner.count(f"certificate: local; devices trust {gateway.data_dir}/tls/authority.pem") == 2
    assert gateway.banner.count(fingerprint) == 2
    assert gateway.banner.count("a device may show a certificate of") == 2
    assert gateway.banner.count("token or password only") == 2
    assert "curl --cacert" in gateway.banner


def test_certificate_is_the_device_over_http_whatever_the_request_claims_and_shows(
    gateway: GatewayProcess, site: CertificateAuthority, token: str
) -> None:
    shown = site.issue_device("cam-7")
    assert post(gateway, shown)[1]["device_id"] == "cam-7"
    assert post(gateway, shown, headers={"Authorization": f"Bearer {token}"})[1]["device_id"] == "cam-7"


def test_alternative_name_is_the_device_where_the_common_name_can_not_be(
    gateway: GatewayProcess, site: CertificateAuthority
) -> None:
    other = [x509.UniformResourceIdentifier("urn:dev:mac:0024befffe804ff1"), x509.DNSName("gate.site")]
    shown = site.issue("by-name", common_name="Camera at the gate", for_server=False, names=other)
    # ssl lists them in the order of the certificate.
    assert post(gateway, shown)[1]["device_id"] == "urn:dev:mac:0024befffe804ff1"
    nameless = site.issue("nameless", common_name="Camera at the gate", for_server=False)
    status, told = post(gateway, nameless)
    assert (status, told["reason"]) == (401, "not_authenticated")
    assert "certificate" in str(told["detail"])


def test_without_a_certificate_the_other_proofs_hold(gateway: GatewayProcess, token: str) -> None:
    assert post(gateway)[0] == 401
    assert post(gateway, headers={"Prediction-Key": token})[1]["device_id"] == "cam-1"


async def test_certificate_is_the_device_over_mqtt_whatever_the_login_says(
    gateway: GatewayProcess, site: CertificateAuthority
) -> None:
    device, code = await logged_in(gateway, site.issue_device("cam-8"), ("cam-1", "wrong"))
    assert code == 0
    # The topic is a claim like any other.
    device.publish(b'{"temperature": 20}', topic="devices/claimed/readings/shot-1", packet_id=1)
    assert await device.receive() == Puback(packet_id=1)
    device.abort()
    assert event_status(gateway, "cam-8", "shot-1", site.issue_device("cam-8")) == 200
    stranger, code = await logged_in(gateway, None, ("cam-1", "wrong"))
    assert code != 0
    stranger.abort()


async def test_token_is_the_device_over_mqtt_whatever_the_topic_claims(gateway: GatewayProcess, token: str) -> None:
    device, code = await logged_in(gateway, None, ("cam-1", token))
    assert code == 0
    device.publish(b'{"temperature": 20}', topic="devices/claimed/readings/shot-2", packet_id=1)
    assert await device.receive() == Puback(packet_id=1)
    device.abort()
    assert event_status(gateway, "cam-1", "shot-2", headers={"Authorization": f"Bearer {token}"}) == 200


def test_certificate_of_another_authority_is_no_proof(gateway: GatewayProcess, tmp_path: Path) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        post(gateway, CertificateAuthority(tmp_path / "other").issue_device("cam-7"))


async def test_revoked_device_is_turned_away_with_its_good_certificate(
    gateway: GatewayProcess, site: CertificateAuthority
) -> None:
    shown = site.issue_device("cam-9")
    assert post(gateway, shown)[0] == 200
    assert "proves nothing" in devices(gateway.data_dir, "revoke", "cam-9")
    await asyncio.sleep(NOTICED_S)
    assert post(gateway, shown)[0] == 401
    assert re.search(r"cam-9 +revoked", devices(gateway.data_dir, "list"))
    device, code = await logged_in(gateway, shown)
    assert code != 0
    device.abort()


@pytest.mark.skipif(shutil.which("curl") is None, reason="missing package: curl")
def test_curl_with_a_certificate_is_served_as_documented(gateway: GatewayProcess, site: CertificateAuthority) -> None:
    shown = site.issue_device("cam-curl")
    trusted = gateway.data_dir / "tls" / "authority.pem"
    command: list[str | Path] = ["curl", "--silent", "--show-error", "--max-time", "30", "--cacert", trusted]
    command += ["--cert", shown.certificate, "--key", shown.key, "--data-binary", "@examples/banana-ripe.jpg"]
    url = f"https://localhost:{urlsplit(gateway.http).port}/v1/devices/claimed/images"
    answer = json.loads(subprocess.run([*command, url], cwd=ROOT, capture_output=True, check=True).stdout)
    assert answer["device_id"] == "cam-curl"


@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="missing package: mosquitto-clients")
def test_mosquitto_pub_with_a_certificate_is_acknowledged(gateway: GatewayProcess, site: CertificateAuthority) -> None:
    shown = site.issue_device("cam-pub")
    trusted = gateway.data_dir / "tls" / "authority.pem"
    command: list[str | Path] = [
        "mosquitto_pub",
        "-h",
        "localhost",
        "-p",
        str(urlsplit(gateway.mqtt).port),
        "--cafile",
        trusted,
    ]
    command += ["--cert", shown.certificate, "--key", shown.key, "-q", "1", "-t", "devices/x/readings/shot-3"]
    subprocess.run([*command, "-m", '{"temperature": 20}'], check=True, timeout=30)
    assert event_status(gateway, "cam-pub", "shot-3", shown) == 200


def test_plain_http_at_the_tls_port_is_told_so(gateway: GatewayProcess) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(gateway.http).port or 0), 10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"https://" in plain.recv(4096)


def test_a_connection_costs_what_the_memory_budget_counts(gateway: GatewayProcess) -> None:
    port = urlsplit(gateway.http).port or 0
    context = trusting(gateway)

    def connected() -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", port), 10)
        secured = context.wrap_socket(plain, server_hostname="localhost")
        secured.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert secured.recv(4096).startswith(b"HTTP/1.1 200 ")
        return secured

    kept = [connected() for _ in range(5)]
    before = resident_kib(gateway.worker_pid)
    kept += [connected() for _ in range(60)]
    each = (resident_kib(gateway.worker_pid) - before) / 60
    for one in kept:
        one.close()
    assert each * 1024 < HTTP_CONNECTION_BYTES + TLS_CONNECTION_BYTES, f"{each:.1f} KiB"


def test_no_key_is_in_the_log(gateway: GatewayProcess) -> None:
    assert "PRIVATE KEY" not in gateway.log_file.read_text() + gateway.banner


def test_lan_1_with_certificates_of_the_local_authority(tmp_path: Path) -> None:
    line = subprocess.run(["make", "-n", "run", "LAN=1"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    arguments = re.findall(r"gateway run .*(--lan)", line)
    assert arguments == ["--lan"]
    environment = {
        "GATEWAY_HTTP__TLS": "true",
        "GATEWAY_HTTP__CLIENT_CERTIFICATES": "required",
        "GATEWAY_MQTT__ALLOWED_NETWORKS": '["10.0.0.0/8"]',
    }
    gateway = GatewayProcess(tmp_path / "data", environment=environment, arguments=arguments)
    devices(gateway.data_dir, "add", "cam-5", "--certificate", str(tmp_path / "cam-5"))
    trusted = (tmp_path / "cam-5" / "authority.pem").read_bytes()
    shown = CertificateFiles(certificate=tmp_path / "cam-5" / "cam-5.pem", key=tmp_path / "cam-5" / "cam-5.key")
    assert stat.S_IMODE(shown.key.stat().st_mode) == 0o600
    assert re.search(r"cam-5 +certificate", devices(gateway.data_dir, "list"))
    with gateway:
        assert (gateway.data_dir / "tls" / "authority.pem").read_bytes() == trusted
        assert "WARNING: devices of private networks" in gateway.banner
        assert gateway.banner.count("open: anybody who reaches it may send") == 2
        assert "a device must show a certificate" in gateway.banner
        assert gateway.banner.count("no TLS: whoever shares the network") == 1
        assert re.search(r"networks: .*192\.168\.0\.0/16", gateway.banner)
        assert "networks: 10.0.0.0/8" in gateway.banner
        gateway.http = re.findall(r"https://0\.0\.0\.0:\d+", gateway.banner)[0]
        gateway.mqtt = re.findall(r"mqtt://0\.0\.0\.0:\d+", gateway.banner)[0]
        assert post(gateway, shown)[1]["device_id"] == "cam-5"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            post(gateway)
        with socket.create_connection(("127.0.0.1", urlsplit(gateway.mqtt).port or 0), 10) as plain:
            assert plain.recv(1) == b""
