"""The site's own certificate authority, for listeners without a certificate from elsewhere. The door to cryptography.

Nothing here runs out: the certificates are good from 1970 to the end of 9999 (RFC 5280 section 4.1.2.5: "no
well-defined expiration date"), since neither the gateway's clock nor a device's need be right, and nobody is there to
renew them. What ends a device is ``gateway devices revoke``.

The gateway runs this module as a program (``python -m gateway.tls.authority FOLDER NAME...``), so that the 12 MB of
cryptography are gone again once the certificate is there. Keys are on the curve P-256: small boards on either side
need a hundredth of the time that RSA takes.
"""

import contextlib
import fcntl
import ipaddress
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.tls.files import AUTHORITY, AUTHORITY_KEY, COVERED, SERVER, SERVER_KEY, write_durably

_NOT_BEFORE = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_AUTHORITY_NAME = "gateway-bridge local authority"
# RFC 5280 appendix A.1: ub-common-name.
COMMON_NAME_CHARS_MAX = 64


class LocalAuthority:
    """Keeps its key in one folder, mode 0600, and uses it again: a device that trusts it does so for good."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            if not (folder / AUTHORITY).exists() or not (folder / AUTHORITY_KEY).exists():
                self._create()
        self._certificate = x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())
        self._key = _read_key(folder / AUTHORITY_KEY)

    def issue_server(self, names: Sequence[str]) -> None:
        """Write a certificate for ``names`` (host names and addresses). The key stays, for devices that pin it."""
        key_file = self._folder / SERVER_KEY
        if not key_file.exists():
            write_durably(key_file, _pem_of_key(ec.generate_private_key(ec.SECP256R1())))
        key = _read_key(key_file)
        alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
        builder = self._leaf("gateway-bridge", key, ExtendedKeyUsageOID.SERVER_AUTH)
        certificate = builder.add_extension(alternative, critical=False).sign(self._key, hashes.SHA256())
        # Last, the list: a certificate without its list is made again.
        write_durably(self._folder / SERVER, _pem(certificate) + _pem(self._certificate))
        authority = self._certificate.fingerprint(hashes.SHA256()).hex(":").upper()
        write_durably(self._folder / COVERED, json.dumps({"authority": authority, "names": list(names)}).encode())

    def issue_device(self, device_id: str, folder: Path) -> None:
        """Write ``device_id``'s certificate, its key and the authority's certificate into ``folder``."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._leaf(device_id, key, ExtendedKeyUsageOID.CLIENT_AUTH).sign(self._key, hashes.SHA256())
        write_durably(folder / f"{device_id}.key", _pem_of_key(key))
        write_durably(folder / f"{device_id}.pem", _pem(certificate))
        write_durably(folder / AUTHORITY, _pem(self._certificate))

    def _leaf(
        self, common_name: str, key: ec.EllipticCurvePrivateKey, usage: x509.ObjectIdentifier
    ) -> x509.CertificateBuilder:
        return (
            _builder(_name(common_name), self._certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def _create(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        # A serial in its name: two sites' authorities in one trust store must not be mistaken for each other.
        name = _name(f"{_AUTHORITY_NAME} {os.urandom(4).hex()}")
        certificate = (
            _builder(name, name, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_AUTHORITY_USAGE, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_durably(self._folder / AUTHORITY_KEY, _pem_of_key(key))
        write_durably(self._folder / AUTHORITY, _pem(certificate))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep the gateway and a command line from making two authorities."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


_AUTHORITY_USAGE = x509.KeyUsage(
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


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=_NOT_BEFORE,
        not_valid_after=_NOT_AFTER,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} is not a key that this gateway made")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


if __name__ == "__main__":
    LocalAuthority(Path(sys.argv[1])).issue_server(sys.argv[2:])
