"""Who sent it, under which id, and when it was captured: read from a request's path, query and headers. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address

from gateway.errors import RequestInvalid

DEVICE_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
# Visible ASCII, but no slash: ``/n`` is what the elements of an array submission add to their id.
SUBMISSION_ID = re.compile(r"[!-.0-~]{1,128}")
ITEM_ID = re.compile(r"[!-.0-~]{1,128}(/[0-9]{1,6})?")
# RFC 3339 section 5.6; the offset may follow a space because "+" in a query string means one.
TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,9})?(?:([Zz])|([+ -])(\d\d:\d\d))")


def device_id_checked(device_id: str) -> str:
    """Return ``device_id``; RequestInvalid if it is not 1 to 128 of ``A-Za-z0-9._:@-``."""
    if DEVICE_ID.fullmatch(device_id) is None:
        raise RequestInvalid(
            f"the device id {shortened(device_id)} is not usable",
            hint="a device id has 1 to 128 characters out of A-Z a-z 0-9 . _ : @ -",
        )
    return device_id


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


def timestamp(text: str) -> datetime:
    """Parse an RFC 3339 date-time to UTC; RequestInvalid with the form that is expected."""
    found = TIMESTAMP.fullmatch(text)
    if found is not None:
        date, time, fraction, zulu, sign, offset = found.groups()
        zone = "+00:00" if zulu else ("-" if sign == "-" else "+") + offset
        try:
            return datetime.fromisoformat(f"{date}T{time}{(fraction or '')[:7]}{zone}").astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # the shape is right but there is no such moment: refused below like any other
    raise RequestInvalid(
        f"captured_at {shortened(text)} is not a time", hint="send RFC 3339 with an offset: 2026-05-04T08:30:00Z"
    )


def _given(*claims: str | None) -> list[str]:
    return [claim for claim in claims if claim is not None]


def shortened(text: str) -> str:
    """Return ``text`` quoted for a message: one line, bounded, ASCII."""
    return ascii(text if len(text) <= 64 else text[:61] + "...")
