"""What must hold between settings, and of the files that they name."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509 import Certificate, CertificateBuilder, Name, NameAttribute, random_serial_number
from cryptography.x509.oid import NameOID

from gateway.settings import PRIVATE_NETWORKS
from tests.unit.settings.conftest import Load, Mistakes

CONNECTION_STRING = "HostName=hub.azure-devices.net;DeviceId=gw1;SharedAccessKey=c2VjcmV0"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with device.pem, its device.key, other.key, locked.key (encrypted) and device.der."""
    folder = tmp_path_factory.mktemp("certificates")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = self_signed(key)
    (folder / "device.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "device.der").write_bytes(certificate.public_bytes(Encoding.DER))
    (folder / "device.key").write_bytes(pem_of(key))
    (folder / "other.key").write_bytes(pem_of(ec.generate_private_key(ec.SECP256R1())))
    (folder / "locked.key").write_bytes(pem_of(key, BestAvailableEncryption(b"pass")))
    for file in folder.glob("*.key"):
        file.chmod(0o600)
    return folder


def self_signed(key: ec.EllipticCurvePrivateKey) -> Certificate:
    name = Name([NameAttribute(NameOID.COMMON_NAME, "gw1")])
    now = datetime.now(UTC)
    builder = CertificateBuilder(name, name, key.public_key(), random_serial_number(), now, now + timedelta(days=1))
    return builder.sign(key, SHA256())


def pem_of(key: ec.EllipticCurvePrivateKey, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def x509(folder: Path, *, certificate: str = "device.pem", key: str = "device.key") -> str:
    return (
        f'[cloud]\nhostname = "hub.azure-devices.net"\ndevice_id = "gw1"\n'
        f'certificate_file = "{folder / certificate}"\nkey_file = "{folder / key}"\n'
    )


# --- listeners ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("http", "admin"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("localhost:8080", "127.0.0.1:8080"),
        (":8080", "127.0.0.1:8080"),
        ("10.0.0.1:8080", "0.0.0.0:8080"),
        ("[::]:8080", "127.0.0.1:8080"),
    ],
)
def test_two_listeners_may_not_share_a_port(mistakes: Mistakes, http: str, admin: str) -> None:
    (problem,) = mistakes(f'[http]\nlisten = "{http}"\n[admin]\nlisten = "{admin}"')

    assert problem.where.endswith(":4")
    assert problem.key == "admin.listen"
    assert "8081" in problem.cure


@pytest.mark.parametrize(
    "toml",
    [
        '[http]\nlisten = ":0"\n[admin]\nlisten = ":0"',
        '[http]\nlisten = ":8081"\n[admin]\nenabled = false',
        '[http]\nlisten = "10.0.0.1:80"\n[admin]\nlisten = "127.0.0.1:80"',
    ],
)
def test_listeners_that_do_not_meet_are_accepted(load: Load, toml: str) -> None:
    load(toml)


def test_a_default_that_clashes_is_told_where_the_clash_was_set(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[http]\nlisten = ":8081"')

    assert problem.where.endswith("gateway.toml:2")
    assert problem.key == "admin.listen"


def test_private_networks_hold_what_sites_use_and_nothing_public() -> None:
    from ipaddress import ip_address

    def is_private(text: str) -> bool:
        return any(ip_address(text) in network for network in PRIVATE_NETWORKS)

    assert all(map(is_private, ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "::1", "fd00::1", "fe80::1"]))
    assert not any(map(is_private, ["8.8.8.8", "172.32.0.1", "2001:db8::1", "100.64.0.1"]))


@pytest.mark.parametrize(
    ("toml", "key", "cure"),
    [
        ('[http]\nclient_certificates = "required"', "http.client_certificates", "Set http.tls"),
        ('[mqtt]\nlisten_client_certificates = "optional"', "mqtt.listen_client_certificates", "Set mqtt.listen_tls"),
        ('[http]\ninterface = "eth0:1"', "http.interface", "Write it as `ip link`"),
        ('[tls]\nnames = ["gw.example:8443"]', "tls.names", "Write it without a port"),
    ],
)
def test_tls_settings_that_can_not_work_are_a_mistake(mistakes: Mistakes, toml: str, key: str, cure: str) -> None:
    (problem,) = mistakes(toml)

    assert problem.key.startswith(key)
    assert problem.cure.startswith(cure)


def test_a_certificate_needs_its_key(mistakes: Mistakes, certificates: Path) -> None:
    (problem,) = mistakes(f'[tls]\ncertificate_file = "{next(certificates.glob("*.pem"))}"')

    assert (problem.key, problem.text) == ("tls.certificate_file", "needs key_file too")


# --- numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "key", "cure"),
    [
        ("[cloud]\nbackoff_initial_s = 61", "cloud.backoff_initial_s", "Set backoff_initial_s to 60 or less"),
        ("[cloud]\nbatch_bytes_max = 8192", "cloud.batch_bytes_max", "Raise drain_batch_bytes_max to 8192"),
        ("[cloud]\nconnect_timeout_s = 15", "cloud.connect_timeout_s", "Set connect_timeout_s to 30"),
        ("[limits]\nimage_bytes_max = 200_000_000", "limits.image_bytes_max", "Set a lower image_bytes_max"),
        ("[mqtt]\nconnections_max = 50_000", "mqtt.connections_max", "Set a lower connections_max"),
        ("[limits]\nmemory_budget_mb = 128", "limits.memory_budget_mb", "Set memory_budget_mb to 164 or more"),
        ("[model]\nworkers = 64", "model.workers", "Set workers to 12 or less"),
    ],
)
def test_numbers_that_contradict_each_other_are_a_mistake(mistakes: Mistakes, toml: str, key: str, cure: str) -> None:
    (problem,) = mistakes(toml)

    assert problem.where.endswith(":2")
    assert problem.key == key
    assert problem.cure.startswith(cure)


def test_a_relation_is_not_accused_while_one_of_its_values_is_wrong(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[cloud]\nbackoff_initial_s = 600\nbackoff_max_s = "1000"')

    assert problem.key == "cloud.backoff_max_s"


# --- the cloud ----------------------------------------------------------------------------------------


def test_a_connection_string_is_parsed_at_start(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[cloud]\nconnection_string = "HostName=hub;SharedAccessKey=c2VjcmV0"')

    assert problem.where.endswith(":2")
    assert "DeviceId" in problem.text
    assert "HostName=...;DeviceId=...;SharedAccessKey=..." in problem.cure


def test_x509_with_all_four_keys_configures_the_cloud(load: Load, certificates: Path) -> None:
    cloud = load(x509(certificates)).cloud

    assert cloud.uses_x509
    assert cloud.configured


def test_x509_with_a_key_missing_names_what_is_missing(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[cloud]\ndevice_id = "gw1"')

    assert problem.text == "X.509 needs hostname, certificate_file, key_file too"


def test_x509_and_a_connection_string_exclude_each_other(mistakes: Mistakes, certificates: Path) -> None:
    (problem,) = mistakes(x509(certificates), environment={"IOTHUB_DEVICE_CONNECTION_STRING": CONNECTION_STRING})

    assert problem.text == "belongs to X.509, and a connection string is given too"


@pytest.mark.parametrize("key", ["ca_file", "certificate_file"])
def test_a_certificate_that_is_not_pem_is_told_with_the_conversion(
    mistakes: Mistakes, certificates: Path, key: str
) -> None:
    toml = x509(certificates, certificate="device.der") if key == "certificate_file" else ""
    overrides = {"cloud.ca_file": str(certificates / "device.der")} if key == "ca_file" else {}

    (problem,) = mistakes(toml, overrides=overrides)

    assert problem.key == f"cloud.{key}"
    assert "openssl x509 -inform der -in device.der -out device.pem" in problem.cure


@pytest.mark.parametrize("content", ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_ca_file_without_a_certificate_is_a_mistake(mistakes: Mistakes, site: Path, content: str) -> None:
    (site / "ca.pem").write_text(content)

    (problem,) = mistakes('[cloud]\nca_file = "ca.pem"')

    assert problem.text == "holds no PEM certificate"


def test_a_ca_file_of_many_certificates_is_accepted(load: Load, certificates: Path, site: Path) -> None:
    pem = (certificates / "device.pem").read_text()
    (site / "ca.pem").write_text(f"# our own\n{pem}{pem}")

    assert load('[cloud]\nca_file = "ca.pem"').cloud.ca_file == site / "ca.pem"


def test_a_missing_ca_file_is_a_mistake(mistakes: Mistakes, site: Path) -> None:
    (problem,) = mistakes('[cloud]\nca_file = "ca.pem"')

    assert str(site / "ca.pem").startswith(problem.value.strip('"…'))  # a long value is cut
    assert "no such file" in problem.text


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("locked.key", "is encrypted"),
        ("other.key", "is not the key of certificate_file"),
        ("device.pem", "holds no PEM private key"),
        ("nowhere.key", "this file can't be read: no such file or directory"),
    ],
)
def test_a_private_key_that_can_not_serve_is_a_mistake(
    mistakes: Mistakes, certificates: Path, key: str, text: str
) -> None:
    (problem,) = mistakes(x509(certificates, key=key))

    assert problem.key == "cloud.key_file"
    assert problem.text == text


def test_openssl_still_calls_a_foreign_key_by_the_name_that_we_know(certificates: Path) -> None:
    """A canary: the reason is OpenSSL's own word."""
    with pytest.raises(ssl.SSLError) as caught:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificates / "device.pem", certificates / "other.key")

    assert caught.value.reason == "KEY_VALUES_MISMATCH"


@pytest.mark.parametrize(
    "proxy",
    [
        "http://proxy:3128",
        "http://u:p@proxy.example:3128/",
        "http://u:p%40ss@[fd00::1]:80",
        "HTTP://u:p@ss:x@h:1",
        "http://u@h:1",
    ],
)
def test_each_form_of_a_proxy_is_accepted(load: Load, proxy: str) -> None:
    assert load(overrides={"cloud.proxy": proxy}).cloud.proxy == proxy


@pytest.mark.parametrize(
    "proxy", ["proxy:3128", "https://h:1", "socks5://h:1", "http://h", "http://h:0", "http://h:1/path", "http://:1"]
)
def test_a_malformed_proxy_is_a_mistake(mistakes: Mistakes, proxy: str) -> None:
    (problem,) = mistakes(overrides={"cloud.proxy": proxy})

    assert problem.key == "cloud.proxy"
    assert "http://user:password@proxy.example:3128" in problem.cure


def test_a_data_dir_that_is_a_file_is_a_mistake(mistakes: Mistakes, site: Path) -> None:
    (site / "data").write_text("")

    (problem,) = mistakes('[gateway]\ndata_dir = "data"')

    assert problem.text == "is a file, not a folder"
