"""Who sent it, under which id, and when it was captured: read from a request's path, query and headers. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime
from ipaddress import IPv6Address, ip_address

from gateway.errors import RequestInvalid
from gateway.identifiers import SUBMISSION_ID, device_id_checked, shortened, timestamp


def device_id_of_request(query: Mapping[str, str], headers: Mapping[str, str], client_host: str | None) -> str:
    """Return the device id of a Custom Vision call: ``?device=``, else ``X-Device-Id``, else the client's address.

    An empty claim is refused like any other bad one: a device without its id must not pass for its address.
    """
    claims = [device_id_checked(claim) for claim in _given(query.get("device"), headers.get("x-device-id"))]
    return claims[0] if claims else device_id_of_address(client_host)


def device_id_of_address(host: str | None) -> str:
    """Return ``ip-192-0-2-7`` for an address: stable while the address is, and safe in topics and file names."""
    if host is None:
        return "ip-unknown"
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return "ip-unknown"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return "ip-" + re.sub(r"[.:]", "-", str(address))


def submission_id_of(headers: Mapping[str, str]) -> str | None:
    """Return the ``Idempotency-Key``, without the quotes of a structured-field string, or None if there is none."""
    raw = headers.get("idempotency-key")
    if raw is None:
        return None
    key = raw.strip()
    if len(key) >= 2 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    if SUBMISSION_ID.fullmatch(key) is None:
        raise RequestInvalid(
            f"the Idempotency-Key {shortened(raw)} is not usable",
            hint="a key has 1 to 128 visible ASCII characters and no slash",
        )
    return key


def captured_at_of(query: Mapping[str, str], headers: Mapping[str, str]) -> datetime | None:
    """Return ``X-Captured-At`` or ``?captured_at=`` as UTC, or None if neither is there."""
    moments = [timestamp(text) for text in _given(headers.get("x-captured-at"), query.get("captured_at"))]
    return moments[0] if moments else None


def _given(*claims: str | None) -> list[str]:
    return [claim for claim in claims if claim is not None]
