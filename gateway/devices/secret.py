"""How a device's secret is made, kept and checked. Nothing of a secret can be read back from what is kept.

A token is random, 192 bits: one SHA-256 is enough, since there is nothing to guess (and a gateway on a Pi checks
thousands a second). A password that a person chose is hashed with scrypt, which costs 16 MiB and about 50 ms on a PC.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass

# Tells what it is when it turns up in a config file or a log, and lets secret scanners find it.
TOKEN_PREFIX = "gwt_"  # noqa: S105  a prefix, not a secret
TOKEN_BYTES = 24
PASSWORD_CHARS_MIN = 8
# What a client may send us to be hashed.
SECRET_CHARS_MAX = 256
# RFC 7914's interactive parameters: 128 * N * r = 16 MiB.
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**14, 8, 1
SALT_BYTES = 16
HASH_BYTES = 32


class SecretFormInvalid(ValueError):
    """What is kept of a secret can't be read."""


@dataclass(frozen=True, slots=True)
class KeptSecret:
    """``kind`` is sha256 (a token) or scrypt (a password); text form: ``kind$salt$hash`` in base64."""

    kind: str
    salt: bytes
    digest: bytes

    def text(self) -> str:
        """Return the form that is stored."""
        return "$".join((self.kind, _b64(self.salt), _b64(self.digest)))

    def is_right(self, secret: str) -> bool:
        """Tell whether this is the secret, in a time that does not depend on how near it is."""
        if len(secret) > SECRET_CHARS_MAX:
            return False
        return hmac.compare_digest(_digest(self.kind, self.salt, secret), self.digest)

    @property
    def is_slow(self) -> bool:
        """Whether checking takes so long that it must leave the event loop."""
        return self.kind == "scrypt"


def parse_kept(text: str) -> KeptSecret:
    """Return the stored secret. Raises SecretFormInvalid."""
    kind, _, rest = text.partition("$")
    salt, _, digest = rest.partition("$")
    try:
        kept = KeptSecret(kind, base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True))
    except (binascii.Error, ValueError) as error:
        raise SecretFormInvalid("not kind$salt$hash in base64") from error
    if kind not in {"sha256", "scrypt"} or len(kept.digest) != HASH_BYTES:
        raise SecretFormInvalid(f"{kind!a} is no way of keeping secrets that this version knows")
    return kept


def new_token() -> str:
    """Return a fresh token: 36 characters that need no quoting anywhere."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def kept_token(token: str) -> KeptSecret:
    """Return what is kept of a token."""
    return KeptSecret("sha256", b"", _digest("sha256", b"", token))


def kept_password(password: str) -> KeptSecret:
    """Return what is kept of a password."""
    salt = secrets.token_bytes(SALT_BYTES)
    return KeptSecret("scrypt", salt, _digest("scrypt", salt, password))


def _digest(kind: str, salt: bytes, secret: str) -> bytes:
    data = secret.encode("utf-8", "surrogatepass")
    if kind == "sha256":
        return hashlib.sha256(salt + data).digest()
    return hashlib.scrypt(data, salt=salt, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, dklen=HASH_BYTES)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
