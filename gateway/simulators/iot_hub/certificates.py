"""The stand-in's own certificate authority: a CA, a server certificate, device certificates on demand.

Elliptic curve keys (P-256): they cost a millisecond, RSA keys a second on a small board. The CA is kept in its
folder and used again, so that a gateway that trusts it still does after a restart; the server's certificate is new
each time. Times are UTC.
"""

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID_DAYS = 365
_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    certificate: Path
    key: Path


class CertificateAuthority:
    """Issues certificates into one folder."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.ca_file = directory / "ca.pem"
        self._key_file = directory / "ca.key"
        if not (self.ca_file.exists() and self._key_file.exists()):
            self._create()
        self._certificate = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        key = serialization.load_pem_private_key(self._key_file.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "we wrote this file"
        self._key = key

    def server_context(self, hostname: str, *, not_before: datetime | None = None) -> ssl.SSLContext:
        """Return a TLS 1.2+ context for ``hostname``; client certificates are asked for and not required."""
        files = self.issue("server", common_name=hostname, for_server=True, not_before=not_before)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(self.ca_file)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def issue_device(self, device_id: str) -> CertificateFiles:
        """Return a client certificate whose common name is the device id."""
        return self.issue(f"device-{device_id}", common_name=device_id, for_server=False)

    def issue(
        self,
        file_name: str,
        *,
        common_name: str,
        for_server: bool,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        names: Sequence[x509.GeneralName] = (),
    ) -> CertificateFiles:
        """Write and return a certificate and its key; without a common name ``names`` are all that it has."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if for_server else ExtendedKeyUsageOID.CLIENT_AUTH
        now = datetime.now(UTC)
        builder = (
            _builder(common_name, self._certificate.subject, key.public_key())
            .not_valid_before(not_before or now - _CLOCK_SKEW)
            .not_valid_after(not_after or now + timedelta(days=_VALID_DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        alternative = [*(_alternative_names(common_name) if for_server else ()), *names]
        if alternative:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        return self._write(file_name, builder.sign(self._key, hashes.SHA256()), key)

    def _create(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = "gateway-bridge stand-in CA"
        now = datetime.now(UTC)
        certificate = (
            _builder(name, _name(name), key.public_key())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + timedelta(days=10 * _VALID_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_CA_KEY_USAGE, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self._write("ca", certificate, key)

    def _write(
        self, file_name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> CertificateFiles:
        files = CertificateFiles(
            certificate=self._directory / f"{file_name}.pem", key=self._directory / f"{file_name}.key"
        )
        files.key.touch(mode=0o600)
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return files


_CA_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def _builder(common_name: str, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=_name(common_name),
        public_key=public_key,
        serial_number=x509.random_serial_number(),
    )


def _alternative_names(hostname: str) -> list[x509.GeneralName]:
    """Return the name itself, and loopback by name and address: the stand-in also answers without its proxy."""
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    try:
        names.append(x509.IPAddress(ipaddress.ip_address(hostname)))
    except ValueError:
        names.append(x509.DNSName(hostname))
    return names
