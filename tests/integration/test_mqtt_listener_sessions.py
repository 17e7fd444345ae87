"""Sessions, logins and TLS of the listener."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.mqtt.codec import encode
from adapters.mqtt.codec_packets import V3_1_1, V5, Connack, Connect, Puback, Publish
from adapters.mqtt.codec_properties import Properties
from adapters.mqtt.sessions import SESSION_EXPIRY_MAX_S
from adapters.mqtt.sessions_file import FILE_NAME
from gateway.errors import AdapterUnavailable
from tests.fakes.ingest import FakeIngest
from tests.fakes.mqtt_device import RawDevice
from tests.fakes.mqtt_listener import listening

COMMANDS = "devices/cam-1/commands/#"
KEPT = Properties(session_expiry_s=3600)


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 -- the things waited for have no event
            await asyncio.sleep(0.01)


async def is_present(port: int, client_id: str = "cam-1", *, version: int = V3_1_1, clean: bool = False) -> bool:
    device = await RawDevice.connect(port, client_id, version=version, clean=clean, properties=_kept(version))
    await device.leave()
    assert device.connack is not None
    return device.connack.session_present


def _kept(version: int) -> Properties:
    return KEPT if version == V5 else Properties()


# --- sessions ---


@pytest.mark.parametrize("version", [V3_1_1, V5])
async def test_session_is_present_until_a_clean_start(version: int) -> None:
    async with listening() as under:
        assert not await is_present(under.port, version=version)
        assert await is_present(under.port, version=version)
        assert not await is_present(under.port, version=version, clean=True)


async def test_clean_session_of_3_1_1_ends_with_its_connection() -> None:
    async with listening() as under:
        await (await RawDevice.connect(under.port, clean=True)).leave()
        assert not await is_present(under.port)


async def test_clean_start_begins_a_new_life() -> None:
    async with listening() as under:
        for clean in (False, False, True):
            async with await RawDevice.connect(under.port, clean=clean) as device:
                device.publish()
                await device.receive()
        first, second, third = (inbound.session for inbound in under.ingest.taken)
        assert first == second != third


async def test_session_of_5_0_expires() -> None:
    async with listening() as under:
        short = Properties(session_expiry_s=1)
        await (await RawDevice.connect(under.port, version=V5, properties=short)).leave()
        await asyncio.sleep(1.8)
        assert not await is_present(under.port, version=V5)


async def test_disconnect_of_5_0_can_end_the_session() -> None:
    async with listening() as under:
        device = await RawDevice.connect(under.port, version=V5, properties=KEPT)
        await device.leave(properties=Properties(session_expiry_s=0))
        assert not await is_present(under.port, version=V5)


async def test_disconnect_of_5_0_cannot_revive_a_session_without_expiry() -> None:
    async with listening() as under:
        device = await RawDevice.connect(under.port, version=V5)
        await device.leave(properties=KEPT)
        assert under.disconnects("protocol_error") == 1


async def test_connack_of_5_0_announces_the_limits() -> None:
    greedy = Properties(session_expiry_s=SESSION_EXPIRY_MAX_S + 1)
    async with (
        listening(in_flight_max=12) as under,
        await RawDevice.connect(under.port, "", version=V5, properties=greedy) as device,
    ):
        assert device.connack is not None
        announced = device.connack.properties
        assert announced.receive_maximum == 12
        assert announced.topic_alias_maximum in {None, 0}
        assert announced.session_expiry_s == SESSION_EXPIRY_MAX_S
        assert announced.subscription_ids_available is False
        assert announced.shared_available is False
        assert announced.assigned_client_id


async def test_sessions_that_are_away_make_room_for_new_ones() -> None:
    async with listening(sessions_max=2) as under:
        for client_id in ("a", "b", "c"):
            await is_present(under.port, client_id)
        assert not await is_present(under.port, "a")
        assert await is_present(under.port, "c")


async def test_sessions_outlive_a_restart_of_the_gateway(tmp_path: Path) -> None:
    ingest = FakeIngest()
    async with listening(data_dir=tmp_path, ingest=ingest) as under:
        device = await RawDevice.connect(under.port, version=V5, properties=KEPT)
        await device.subscribe(COMMANDS)
        device.publish(b"once")
        await device.receive()
        device.abort()
        await until(lambda: under.disconnects("lost"))
    async with listening(data_dir=tmp_path, ingest=ingest) as under:
        assert under.listener.deliver("devices/cam-1/commands/x", b"do") == 1
        async with await RawDevice.connect(under.port, version=V5, clean=False, properties=KEPT) as again:
            assert again.connack is not None
            assert again.connack.session_present
            assert isinstance(await again.receive(), Publish)
            again.publish(b"once", dup=True)
            assert await again.receive() == Puback(packet_id=1)
    assert ingest.payloads == [b"once"]


async def test_session_is_on_disk_before_its_connack(tmp_path: Path) -> None:
    async with listening(data_dir=tmp_path) as under, await RawDevice.connect(under.port, clean=False):
        assert "cam-1" in (tmp_path / FILE_NAME).read_text()


async def test_torn_line_costs_its_session_alone(tmp_path: Path) -> None:
    async with listening(data_dir=tmp_path) as under:
        await is_present(under.port, "a")
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write('{"client": "torn", "dev')
    async with listening(data_dir=tmp_path) as under:
        assert await is_present(under.port, "a")
        await is_present(under.port, "b")
    async with listening(data_dir=tmp_path) as under:
        assert await is_present(under.port, "b")


async def test_sessions_that_ended_are_not_there_after_a_restart(tmp_path: Path) -> None:
    async with listening(data_dir=tmp_path) as under:
        await is_present(under.port)
        await is_present(under.port, clean=True)
    async with listening(data_dir=tmp_path) as under:
        assert not await is_present(under.port)


# --- logins ---


def password_file(folder: Path, *logins: tuple[str, str]) -> Path:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("missing package: mosquitto")
    path = folder / "passwords"
    path.touch()
    for username, password in logins:
        subprocess.run(["mosquitto_passwd", "-b", path, username, password], check=True, capture_output=True)
    return path


@pytest.mark.parametrize(("version", "code"), [(V3_1_1, 4), (V5, 0x86)])
async def test_wrong_logins_are_refused(tmp_path: Path, version: int, code: int) -> None:
    path = password_file(tmp_path, ("cam-1", "secret"))
    async with listening(listen_credentials_file=path) as under:
        for login in (None, ("cam-1", b"wrong"), ("cam-2", b"secret")):
            async with await RawDevice.connect(under.port, version=version, login=login) as device:
                assert device.connack is not None
                assert device.connack.code == code
        assert under.disconnects("bad_user_name_or_password") == 3


async def test_login_is_the_device_that_the_ingest_and_the_filters_see(tmp_path: Path) -> None:
    path = password_file(tmp_path, ("cam-1", "secret"), ("cam-2", "other"))
    async with (
        listening(listen_credentials_file=path) as under,
        await RawDevice.connect(under.port, "any", login=("cam-1", b"secret")) as device,
    ):
        assert await device.subscribe("devices/cam-1/results", "devices/cam-2/results") == (1, 0x80)
        device.publish(topic="devices/cam-1/readings")
        assert isinstance(await device.receive(), Puback)
        assert under.ingest.taken[0].device_id == "cam-1"


async def test_devices_with_the_same_client_id_and_other_logins_keep_apart(tmp_path: Path) -> None:
    path = password_file(tmp_path, ("cam-1", "secret"), ("cam-2", "other"))
    async with (
        listening(listen_credentials_file=path) as under,
        await RawDevice.connect(under.port, "same", login=("cam-1", b"secret")) as first,
        await RawDevice.connect(under.port, "same", login=("cam-2", b"other")) as second,
    ):
        await first.ping()
        await second.ping()
        assert under.disconnects("taken_over") == 0


async def test_password_file_that_is_not_one_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("cam-1:plain\n")
    with pytest.raises(AdapterUnavailable, match=r"passwords line 1 .*mosquitto_passwd"):
        async with listening(listen_credentials_file=path):
            pass


# --- TLS ---


def certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, private = folder / "cert.pem", folder / "key.pem"
    chain.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, private


async def test_devices_speak_tls_when_a_certificate_is_given(tmp_path: Path) -> None:
    chain, private = certificate(tmp_path)
    async with listening(listen_certificate_file=chain, listen_key_file=private) as under:
        assert under.listener.describe().startswith("mqtts://")
        context = ssl.create_default_context(cafile=str(chain))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", under.port, ssl=context, server_hostname="localhost"
        )
        device = RawDevice(reader, writer, V3_1_1)
        device.send_bytes(encode(Connect(version=4, client_id="c", clean_start=True, keep_alive_s=9), V3_1_1))
        assert await device.receive() == Connack(code=0)
        payload = bytes(range(256)) * 1000
        device.publish(payload)
        assert await device.receive() == Puback(packet_id=1)
        assert under.ingest.payloads == [payload]
        device.abort()


async def test_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(AdapterUnavailable, match="listen_certificate_file"):
        async with listening(listen_certificate_file=broken, listen_key_file=broken):
            pass
