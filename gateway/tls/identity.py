"""Which device a certificate names. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.identifiers import DEVICE_ID

# ssl's words for the alternative names that can hold a device id.
_ALTERNATIVE = ("DNS", "URI", "email")


def device_of_certificate(certificate: Mapping[str, Any] | None) -> str | None:
    """Return the device id in a certificate as ``ssl`` tells it; None without one, empty if it names no device.

    The common name, else the first alternative name that can be a device id.
    """
    if not certificate:
        return None
    return next((name for name in _names(certificate) if DEVICE_ID.fullmatch(name)), "")


def _names(certificate: Mapping[str, Any]) -> Iterator[str]:
    for part in certificate.get("subject", ()):
        yield from (value for key, value in part if key == "commonName")
    yield from (value for kind, value in certificate.get("subjectAltName", ()) if kind in _ALTERNATIVE)
