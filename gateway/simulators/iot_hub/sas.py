r"""Shared access signatures, checked as IoT Hub checks them. Pure.

Source: "Control access to IoT Hub by using shared access signatures": the signature is the base64 of HMAC-SHA256,
with the decoded device key, over ``{URL-encoded resource}\n{expiry}``.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from urllib.parse import unquote

_PREFIX = "SharedAccessSignature "


def signature(resource_encoded: str, expiry: str, key: str) -> str:
    """Return the base64 signature; ``key`` is the base64 device key."""
    digest = hmac.digest(base64.b64decode(key), f"{resource_encoded}\n{expiry}".encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


def refusal(token: str, *, resource: str, keys: Iterable[str], now: float) -> str | None:
    """Return why a token does not open ``resource`` (``host/devices/id``), or None if it does."""
    if not token.startswith(_PREFIX):
        return "no shared access signature"
    fields = dict(pair.partition("=")[::2] for pair in token.removeprefix(_PREFIX).split("&"))
    if unquote(fields.get("sr", "")) != resource:
        return "the signature is for another resource"
    if not fields.get("se", "").isdigit() or int(fields["se"]) <= now:
        return "the signature has expired: is the device's clock right?"
    if any(_matches(fields, key) for key in keys):
        return None
    return "the signature was made with another key"


def _matches(fields: dict[str, str], key: str) -> bool:
    try:
        expected = signature(fields["sr"], fields["se"], key)
    except (binascii.Error, KeyError):
        return False
    return hmac.compare_digest(expected, unquote(fields.get("sig", "")))
