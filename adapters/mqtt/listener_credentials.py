"""Who may log in at the listener, and as which device.

``PasswordFile`` reads what ``mosquitto_passwd`` (2.0 and later) writes: ``username:$7$iterations$salt$hash``, one a
line; PBKDF2-HMAC-SHA512, salt and hash in base64. The username is the device id.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.devices.throttle import Throttle
from gateway.errors import AdapterUnavailable, NotAuthenticated, TooManyFailures
from gateway.ports import Gatekeeper
from gateway.settings.section import EffectiveAccess

_METHOD = "7"
# mosquitto_passwd takes 101 by default; a hash beyond a million would keep a core busy for a second.
_ITERATIONS_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a client proved to be. ``device_id`` None: it is let in and proved nothing, so its topics tell the device."""

    device_id: str | None


class Credentials(Protocol):
    """Decides who comes in."""

    async def check(
        self, username: str | None, password: bytes | None, client_id: str, *, source: str
    ) -> Identity | None:
        """Return who it is, or None to turn the client away. ``source`` is its address."""


class OpenCredentials:
    """Lets everybody in and knows nobody: for networks that are trusted."""

    async def check(
        self,
        username: str | None,  # noqa: ARG002 -- the Protocol's
        password: bytes | None,  # noqa: ARG002 -- the Protocol's
        client_id: str,  # noqa: ARG002 -- the Protocol's
        *,
        source: str,  # noqa: ARG002 -- the Protocol's
    ) -> Identity | None:
        """Return an identity without a device."""
        return Identity(device_id=None)


class BookCredentials:
    """Implements Credentials with the site's book of devices: the username is the device id, the password its secret.

    A token alone is enough: with it, a device may leave the username out.
    """

    def __init__(self, gatekeeper: Gatekeeper, *, access: EffectiveAccess) -> None:
        self._gatekeeper = gatekeeper
        self._access = access

    async def check(
        self, username: str | None, password: bytes | None, client_id: str, *, source: str
    ) -> Identity | None:
        """Return who it is; in an open listener nobody is turned away, and a right token still tells."""
        secret = (password or b"").decode("utf-8", "replace")
        if self._access == "open":
            return Identity(device_id=self._gatekeeper.recognise(secret) if secret else None)
        if not secret:
            return self._unproven(username or client_id)
        try:
            proven = await self._gatekeeper.prove(device_id=username or None, secret=secret, source=source)
        except (NotAuthenticated, TooManyFailures):
            return None
        return Identity(device_id=proven)

    def _unproven(self, claimed: str) -> Identity | None:
        if self._access == "known" and self._gatekeeper.is_known(claimed):
            return Identity(device_id=claimed)
        return None


@dataclass(frozen=True, slots=True)
class _Hash:
    iterations: int
    salt: bytes
    digest: bytes


# Checked for unknown names, so that an answer's time does not tell which names exist.
_NOBODY = _Hash(101, b"\x00" * 12, b"\x00" * 64)


class PasswordFile:
    """Implements Credentials with a file of mosquitto_passwd, read once."""

    def __init__(self, hashes: dict[str, _Hash]) -> None:
        self._hashes = hashes
        self._throttle = Throttle()

    @classmethod
    def read(cls, path: Path) -> "PasswordFile":
        """Read ``path``. Raises AdapterUnavailable with the line that is wrong."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise AdapterUnavailable(f"mqtt.listen_credentials_file {path} can't be read: {error}") from error
        hashes = {}
        for number, line in enumerate(lines, start=1):
            if line.strip() and not line.startswith("#"):
                username, _, text = line.strip().partition(":")
                hashes[username] = _parse(text, f"{path} line {number}")
        return cls(hashes)

    async def check(
        self,
        username: str | None,
        password: bytes | None,
        client_id: str,  # noqa: ARG002 -- the Protocol's
        *,
        source: str,
    ) -> Identity | None:
        """Return the device of that name if the password is its own, and its address has not guessed too often."""
        now_s = asyncio.get_running_loop().time()
        if self._throttle.wait_s(source, now_s) > 0:
            return None
        # Counted before it is checked: guesses sent at once must not all be tried.
        self._throttle.failed(source, now_s)
        known = self._hashes.get(username or "")
        right = await asyncio.to_thread(_is_right, known or _NOBODY, password or b"")
        if known is None or not right:
            return None
        self._throttle.forgiven(source)
        return Identity(device_id=username)


def _parse(text: str, where: str) -> _Hash:
    parts = text.split("$")
    try:
        if len(parts) != 5 or parts[1] != _METHOD or not 0 < int(parts[2]) <= _ITERATIONS_MAX:
            raise ValueError(text)
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[3:])
    except (ValueError, binascii.Error) as error:
        raise AdapterUnavailable(
            f"{where} is not username:$7$...; write it with mosquitto_passwd of mosquitto 2.0 or later"
        ) from error
    return _Hash(int(parts[2]), salt, digest)


def _is_right(known: _Hash, password: bytes) -> bool:
    digest = hashlib.pbkdf2_hmac("sha512", password, known.salt, known.iterations, dklen=len(known.digest) or 64)
    return hmac.compare_digest(digest, known.digest)
