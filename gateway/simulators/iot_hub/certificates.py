"""The stand-in's own certificate authority: a CA, a server certificate, device certificates on demand.

The CA is kept in its folder and used again, so that a gateway that trusts it still does after a restart; the server's
certificate is new each time. Times are UTC.
"""

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.tls.issuing import Authority, Validity, new_key, pem_of, pem_of_key

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
        key_file = directory / "ca.key"
        if not (self.ca_file.exists() and key_file.exists()):
            made = Authority.new("gateway-bridge stand-in CA", _for_days(10 * _VALID_DAYS))
            self._write("ca", made.certificate, made.key)
        self._authority = Authority.parse(self.ca_file.read_bytes(), key_file.read_bytes())

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
        key = new_key()
        year = _for_days(_VALID_DAYS)
        certificate = self._authority.issue(
            key,
            Validity(not_before or year.not_before, not_after or year.not_after),
            common_name=common_name,
            for_server=for_server,
            names=[*(_alternative_names(common_name) if for_server else ()), *names],
        )
        return self._write(file_name, certificate, key)

    def _write(
        self, file_name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> CertificateFiles:
        files = CertificateFiles(
            certificate=self._directory / f"{file_name}.pem", key=self._directory / f"{file_name}.key"
        )
        files.key.touch(mode=0o600)
        files.key.write_bytes(pem_of_key(key))
        files.certificate.write_bytes(pem_of(certificate))
        return files


def _for_days(days: int) -> Validity:
    now = datetime.now(UTC)
    return Validity(now - _CLOCK_SKEW, now + timedelta(days=days))


def _alternative_names(hostname: str) -> list[x509.GeneralName]:
    """Return the name itself, and loopback by name and address: the stand-in also answers without its proxy."""
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    try:
        names.append(x509.IPAddress(ipaddress.ip_address(hostname)))
    except ValueError:
        names.append(x509.DNSName(hostname))
    return names
