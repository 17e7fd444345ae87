"""A listener's TLS: the context for each new connection, read anew when its files have changed.

Files are looked at when a connection comes, once a second at most. Ones that can't be used leave the last good context
in force and are told once; connections that are open stay as they are. Where the local authority's certificate no
longer covers the host's addresses (a lease that came after the start), another is made meanwhile.
"""

import asyncio
import ssl
from pathlib import Path
from typing import Literal

import structlog

from gateway.errors import AdapterUnavailable
from gateway.ports import Clock
from gateway.tls.certificates import Certificate

log = structlog.get_logger(__name__)

ClientCertificates = Literal["off", "optional", "required"]

LOOK_EVERY_S = 1.0
# A lease changes now and then, and looking costs a dozen system calls.
RENEW_LOOK_EVERY_S = 30.0
# X509_V_FLAG_NO_CHECK_TIME of openssl/x509_vfy.h, which ssl has no name for.
_NO_CHECK_TIME = 0x200000

Stamp = tuple[tuple[int, int, int] | None, ...]


class ServerTls:
    """Implements ports.TlsSource."""

    def __init__(
        self,
        *,
        certificate: Certificate,
        clients: ClientCertificates,
        client_ca_file: Path,
        check_client_dates: bool,
        clock: Clock,
    ) -> None:
        self._certificate = certificate
        self._clients = clients
        self._client_ca_file = client_ca_file
        self._check_client_dates = check_client_dates
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._stamp: Stamp | None = None
        self._looked_s = float("-inf")
        self._renew_looked_s = float("-inf")
        self._renewing: asyncio.Future[None] | None = None

    def prepare(self) -> None:
        """Return when there is a certificate to show. Blocks. Raises AdapterUnavailable with the cure."""
        self._certificate.ensure()
        self._stamp = self._stamp_now()
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """Return the context for a connection that comes now."""
        now_s = self._clock.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            self._look()
        if now_s - self._renew_looked_s >= RENEW_LOOK_EVERY_S:
            self._renew_looked_s = now_s
            self._renew_if_due()
        assert self._context is not None, "context() before prepare()"
        return self._context

    @property
    def trusted_file(self) -> Path | None:
        """What a client has to trust, where it is no authority that clients know."""
        return self._certificate.trusted_file

    def describe(self) -> str:
        """Return in a line what devices have to trust, and what they have to show."""
        shown = {
            "off": "",
            "optional": f"; a device may show a certificate of {self._client_ca_file}",
            "required": f"; a device must show a certificate of {self._client_ca_file}",
        }
        return f"{self._certificate.describe()}{shown[self._clients]}"

    def _look(self) -> None:
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._context = self._read()
        except AdapterUnavailable as error:
            log.error("certificate_unusable", detail=str(error), still="the one before is used")
            return
        log.info("certificate_read", certificate=str(self._certificate.certificate_file))

    def _renew_if_due(self) -> None:
        if (self._renewing is None or self._renewing.done()) and self._certificate.is_due:
            self._renewing = asyncio.get_running_loop().run_in_executor(None, self._renew)

    def _renew(self) -> None:
        try:
            self._certificate.ensure()
        except AdapterUnavailable as error:
            log.warning("certificate_not_renewed", detail=str(error))

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        certificate, key = self._certificate.certificate_file, self._certificate.key_file
        try:
            # An encrypted key would make OpenSSL ask on the terminal: an empty pass phrase fails instead.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ssl.SSLError) as error:
            raise AdapterUnavailable(
                f"{self._certificate.setting}: the certificate {certificate} and the key {key} can't be used: {error}; "
                "both must be PEM, not encrypted, readable by the gateway's user, and belong together"
            ) from error
        if self._clients != "off":
            self._believe_clients(context)
        return context

    def _believe_clients(self, context: ssl.SSLContext) -> None:
        try:
            context.load_verify_locations(self._client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise AdapterUnavailable(
                f"{self._client_ca_file}, the authority of devices' certificates, can't be used: {error}; name one in "
                "tls.client_ca_file, or let the local one issue them: gateway devices add ID --certificate FOLDER"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED if self._clients == "required" else ssl.CERT_OPTIONAL
        if not self._check_client_dates:
            context.verify_flags |= _NO_CHECK_TIME

    def _stamp_now(self) -> Stamp:
        files = [self._certificate.certificate_file, self._certificate.key_file]
        return tuple(_stamp(path) for path in (*files, *([] if self._clients == "off" else [self._client_ca_file])))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
