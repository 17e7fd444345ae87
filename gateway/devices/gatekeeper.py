"""Who may come in, for every listener: proves devices' secrets against the book, and slows down those who guess.

Works offline. Reads the book again when its file has changed (looked at once a second at most); a book that can't be
read leaves the last good one in force. A right password is remembered under a keyed hash, since scrypt for every
request would keep a Pi busy; revoking forgets it with the device.

Limits: ``SOURCES_MAX`` addresses with failures, ``REMEMBERED_MAX`` proven passwords, ``SLOW_CHECKS_MAX`` scrypt checks
at once (16 MiB each).
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from pathlib import Path

import structlog

from gateway.devices.book import FILE_NAME, Book, read_book
from gateway.devices.secret import KeptSecret, kept_password, kept_token
from gateway.devices.throttle import Throttle
from gateway.errors import NotAuthenticated, OperatorError, TooManyFailures
from gateway.ports import Clock, Meter

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0
REMEMBERED_MAX = 1024
SLOW_CHECKS_MAX = 2


class Gatekeeper:
    """Implements ports.Gatekeeper."""

    def __init__(self, data_dir: Path, *, clock: Clock, meter: Meter) -> None:
        self._data_dir = data_dir
        self._clock = clock
        self._meter = meter
        self._book = Book()
        self._by_token: Mapping[bytes, str] = {}
        self._stamp: tuple[int, int, int] | None = None
        self._looked_s = float("-inf")
        self._throttle = Throttle()
        self._slow_checks = asyncio.Semaphore(SLOW_CHECKS_MAX)
        self._key = secrets.token_bytes(32)
        self._proven: dict[bytes, KeptSecret] = {}
        # Checked for devices that are not known, so that the answer's time does not tell which are.
        self._nobody = kept_password(secrets.token_hex())

    def is_known(self, device_id: str) -> bool:
        """Tell whether the device is in the book, and its id enough."""
        self._look()
        device = self._book.devices.get(device_id)
        return device is not None and not device.by_certificate

    def is_revoked(self, device_id: str) -> bool:
        """Tell whether the device was revoked, and not added again since."""
        self._look()
        return device_id in self._book.revoked

    def recognise(self, secret: str) -> str | None:
        """Return whose token this is, or None."""
        self._look()
        return self._by_token.get(kept_token(secret).digest)

    async def prove(self, *, device_id: str | None, secret: str, source: str) -> str:
        """Return whose secret it is. Raises NotAuthenticated, or TooManyFailures for a source that guesses.

        A right token is let in even from an address whose guesses wait: a device behind the attacker's NAT works on,
        and tokens are too long to be guessed. Passwords wait.
        """
        owner = self.recognise(secret)
        if owner is not None and device_id in {None, owner}:
            self._meter.count("gateway_logins_total", outcome="proven")
            return owner
        now_s = self._clock.monotonic()
        wait_s = self._throttle.wait_s(source, now_s)
        if wait_s > 0:
            self._meter.count("gateway_logins_total", outcome="throttled")
            raise TooManyFailures("too many wrong secrets from this address", retry_after_s=wait_s)
        # Counted before it is checked: guesses sent at once must not all be tried.
        self._throttle.failed(source, now_s)
        if device_id is None or not await self._has_password(device_id, secret):
            self._meter.count("gateway_logins_total", outcome="refused")
            log.warning("device_login_refused", source=source, device_id=device_id or "")
            raise NotAuthenticated("the secret is not that of a known device")
        self._throttle.forgiven(source)
        self._meter.count("gateway_logins_total", outcome="proven")
        return device_id

    async def _has_password(self, device_id: str, secret: str) -> bool:
        device = self._book.devices.get(device_id)
        kept = device.secret if device is not None else None
        if kept is None or not kept.is_slow:
            # Not known, or with a token that this is not: as slow as if it had a password.
            await self._is_right(self._nobody, secret)
            return False
        return await self._is_proven(device_id, kept, secret)

    async def _is_proven(self, device_id: str, kept: KeptSecret, secret: str) -> bool:
        text = f"{device_id}\0{secret}".encode("utf-8", "surrogatepass")
        name = hmac.digest(self._key, text, hashlib.sha256)
        if self._proven.get(name) == kept:
            return True
        if not await self._is_right(kept, secret):
            return False
        self._proven[name] = kept
        while len(self._proven) > REMEMBERED_MAX:
            del self._proven[next(iter(self._proven))]
        return True

    async def _is_right(self, kept: KeptSecret, secret: str) -> bool:
        async with self._slow_checks:
            return await asyncio.to_thread(kept.is_right, secret)

    def _look(self) -> None:
        """Read the book again if it has changed."""
        now_s = self._clock.monotonic()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        stamp = self._stamp_of_file()
        if stamp == self._stamp:
            return
        try:
            book = read_book(self._data_dir)
        except OperatorError as error:
            log.error("device_book_unreadable", detail=str(error))
            return
        self._stamp, self._book = stamp, book
        self._by_token = {
            one.secret.digest: one.device_id
            for one in book.devices.values()
            if one.secret is not None and not one.secret.is_slow
        }
        known = {one.secret for one in book.devices.values() if one.secret is not None}
        self._proven = {name: kept for name, kept in self._proven.items() if kept in known}
        log.info("device_book_read", devices=len(book.devices))

    def _stamp_of_file(self) -> tuple[int, int, int] | None:
        try:
            found = (self._data_dir / FILE_NAME).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
