"""The site's own certificate authority, for listeners without a certificate from elsewhere.

Nothing here runs out: the certificates are good from 1970 to the end of 9999 (RFC 5280 section 4.1.2.5: "no
well-defined expiration date"), since neither the gateway's clock nor a device's need be right, and nobody is there to
renew them. What ends a device is ``gateway devices revoke``.

The gateway runs this module as a program (``python -m gateway.tls.authority FOLDER NAME...``), so that the 12 MB of
cryptography are gone again once the certificate is there.
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
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.tls.files import AUTHORITY, AUTHORITY_KEY, COVERED, SERVER, SERVER_KEY, write_durably
from gateway.tls.issuing import Authority, Validity, new_key, parse_key, pem_of, pem_of_key

_FOR_EVER = Validity(datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
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
        self._authority = Authority.parse((folder / AUTHORITY).read_bytes(), (folder / AUTHORITY_KEY).read_bytes())

    def issue_server(self, names: Sequence[str]) -> None:
        """Write a certificate for ``names`` (host names and addresses). The key stays, for devices that pin it."""
        own = self._authority.certificate
        certificate = self._authority.issue(
            self._server_key(),
            _FOR_EVER,
            common_name="gateway-bridge",
            for_server=True,
            names=[_general_name(name) for name in names],
        )
        # Last, the list: a certificate without its list is made again.
        write_durably(self._folder / SERVER, pem_of(certificate) + pem_of(own))
        fingerprint = own.fingerprint(hashes.SHA256()).hex(":").upper()
        write_durably(self._folder / COVERED, json.dumps({"authority": fingerprint, "names": list(names)}).encode())

    def issue_device(self, device_id: str, folder: Path) -> None:
        """Write ``device_id``'s certificate, its key and the authority's certificate into ``folder``."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = new_key()
        certificate = self._authority.issue(key, _FOR_EVER, common_name=device_id, for_server=False)
        write_durably(folder / f"{device_id}.key", pem_of_key(key))
        write_durably(folder / f"{device_id}.pem", pem_of(certificate))
        write_durably(folder / AUTHORITY, pem_of(self._authority.certificate))

    def _server_key(self) -> ec.EllipticCurvePrivateKey:
        file = self._folder / SERVER_KEY
        if not file.exists():
            write_durably(file, pem_of_key(new_key()))
        return parse_key(file.read_bytes())

    def _create(self) -> None:
        # A serial in its name: two sites' authorities in one trust store must not be mistaken for each other.
        made = Authority.new(f"{_AUTHORITY_NAME} {os.urandom(4).hex()}", _FOR_EVER)
        write_durably(self._folder / AUTHORITY_KEY, pem_of_key(made.key))
        write_durably(self._folder / AUTHORITY, pem_of(made.certificate))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep the gateway and a command line from making two authorities."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


if __name__ == "__main__":
    LocalAuthority(Path(sys.argv[1])).issue_server(sys.argv[2:])
