"""Whom https believes: the system's authorities, the camera's own, one certificate, or, if so told, anybody."""

import hashlib
import ssl
import warnings
from pathlib import Path

from adapters.camera_pull.faults import CameraFault, Reason
from gateway.settings import PulledCameraSettings

# ssl.OP_LEGACY_SERVER_CONNECT of Python 3.12: servers without RFC 5746, older than 2010.
_LEGACY_SERVER_CONNECT = 0x4


class TrustStore:
    """Contexts by what they trust, shared by all cameras: one that knows the system's authorities costs a megabyte."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[Path | None, bool, bool], ssl.SSLContext] = {}

    def context(self, camera: PulledCameraSettings) -> ssl.SSLContext:
        """Return the context for a camera. Raises OSError for a file that can't be read or used."""
        verifies = camera.verify and not camera.fingerprint
        key = (camera.ca_file if verifies else None, verifies, camera.legacy_tls)
        if key not in self._contexts:
            self._contexts[key] = _context(key[0], verifies=verifies, legacy=camera.legacy_tls)
        return self._contexts[key]


def _context(ca_file: Path | None, *, verifies: bool, legacy: bool) -> ssl.SSLContext:
    if verifies:
        context = ssl.create_default_context(cafile=ca_file)
        # A camera's own certificate, named as ca_file, signs nothing.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if legacy:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.options |= _LEGACY_SERVER_CONNECT
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # asked for by name, in legacy_tls
            context.minimum_version = ssl.TLSVersion.TLSv1
    return context


def check_fingerprint(expected: str, certificate: bytes | None) -> None:
    """Raise CameraFault unless the certificate (DER) is the one that was pinned: before anything is sent."""
    shown = hashlib.sha256(certificate or b"").hexdigest()
    if shown != expected:
        raise CameraFault(Reason.CERTIFICATE_REFUSED, f"its certificate has another fingerprint: {shown}")
