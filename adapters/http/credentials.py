"""What a request shows to prove who sends it. Pure.

In this order: ``Authorization: Bearer``, ``Authorization: Basic``, ``Prediction-Key`` (what Custom Vision clients
send), ``?key=`` (for devices that can set nothing but their URL).
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

# Longer than any secret we give out or keep, so that nothing large is hashed.
SECRET_CHARS_MAX = 256
KEY_QUERY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A secret, and whose it is said to be (Basic's user name; None where the secret has to tell).

    ``by_query``: it stood in the URL, where it may also be the password of the device that the URL names.
    """

    secret: str = field(repr=False)
    device_id: str | None = None
    by_query: bool = False


def shown_by(query: Mapping[str, str], headers: Mapping[str, str], *, key_query: str = KEY_QUERY) -> Shown | None:
    """Return what the request shows, or None. What can't be read is shown as a secret that is never right."""
    authorization = headers.get("authorization")
    if authorization is not None:
        return _authorization(authorization)
    by_header = headers.get("prediction-key")
    secret = by_header or query.get(key_query)
    return Shown(secret=secret.strip()[: SECRET_CHARS_MAX + 1], by_query=not by_header) if secret else None


def _authorization(text: str) -> Shown:
    scheme, _, rest = text.strip().partition(" ")
    rest = rest.strip()[: 2 * SECRET_CHARS_MAX]
    if scheme.lower() == "bearer":
        return Shown(secret=rest[: SECRET_CHARS_MAX + 1])
    if scheme.lower() != "basic":
        return Shown(secret="")
    try:
        # RFC 7617: UTF-8 is what this server's realm uses.
        user, colon, password = base64.b64decode(rest, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return Shown(secret="")
    return Shown(secret=password[: SECRET_CHARS_MAX + 1] if colon else "", device_id=user or None)
