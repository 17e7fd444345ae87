"""The file of known devices: ``devices.json`` in the data directory, mode 0600, written whole and durably.

The command line writes it (one writer at a time, by flock); a running gateway reads it again when it changes. It is
apart from the outbox on purpose: a damaged outbox must not lock the site's devices out.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.devices.secret import KeptSecret, SecretFormInvalid, parse_kept
from gateway.errors import OperatorError
from gateway.identifiers import DEVICE_ID

FILE_NAME = "devices.json"
LOCK_NAME = "devices.lock"
VERSION = 1
# About 2 MB of file.
DEVICES_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedDevice:
    """A device of the site.

    ``secret`` None: known by its id alone, for listeners with access = "known", or by its certificate.
    """

    device_id: str
    added_at: datetime
    secret: KeptSecret | None
    by_certificate: bool = False

    @property
    def proof(self) -> str:
        """How it proves who it is, for people."""
        if self.secret is None:
            return "certificate" if self.by_certificate else "none"
        return "password" if self.secret.is_slow else "token"


@dataclass(frozen=True, slots=True)
class Book:
    """The devices by id, and the ids that were revoked: a certificate is good for ever, so its end is kept here."""

    devices: Mapping[str, BookedDevice] = field(default_factory=dict)
    revoked: frozenset[str] = frozenset()


def read_book(data_dir: Path) -> Book:
    """Return what the file says; nothing if there is no file. Raises OperatorError with what is wrong and where."""
    path = data_dir / FILE_NAME
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Book()
    except OSError as error:
        raise OperatorError(f"{path} can't be read ({error.strerror}): check its owner and permissions") from error
    except ValueError as error:
        raise OperatorError(
            f"{path} is damaged ({error}): restore it from a copy, or move it away and add the devices again"
        ) from error
    try:
        return Book(_devices(document), _revoked(document))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise OperatorError(f"{path} is not a list of devices that this version knows: {error}") from error


def add_device(data_dir: Path, device: BookedDevice) -> None:
    """Return when the device is in the file, on disk. Raises OperatorError if it is there already."""
    with _changing(data_dir) as (devices, revoked):
        if device.device_id in devices:
            raise OperatorError(
                f"{device.device_id} is known already; `gateway devices revoke {device.device_id}` first gives it "
                "another secret"
            )
        if len(devices) >= DEVICES_MAX:
            raise OperatorError(f"{DEVICES_MAX} devices are known, the most that one gateway keeps")
        devices[device.device_id] = device
        revoked.discard(device.device_id)


def revoke_device(data_dir: Path, device_id: str) -> bool:
    """Return when the device is out of the file, on disk, and whether it was in it.

    Its id is noted: certificates that name it prove nothing any more, until it is added again.
    """
    with _changing(data_dir) as (devices, revoked):
        was_known = devices.pop(device_id, None) is not None
        if len(revoked) >= DEVICES_MAX and device_id not in revoked:
            raise OperatorError(f"{DEVICES_MAX} devices are revoked, the most that one gateway keeps")
        revoked.add(device_id)
        return was_known


@contextlib.contextmanager
def _changing(data_dir: Path) -> Iterator[tuple[dict[str, BookedDevice], set[str]]]:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperatorError(f"{data_dir} can't be written to ({error.strerror}): check its owner") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        book = read_book(data_dir)
        devices, revoked = dict(book.devices), set(book.revoked)
        yield devices, revoked
        _write(data_dir, devices, revoked)
    finally:
        os.close(lock)


def _write(data_dir: Path, devices: Mapping[str, BookedDevice], revoked: AbstractSet[str]) -> None:
    document = {
        "version": VERSION,
        "devices": {
            one.device_id: {
                "added_at": one.added_at.isoformat(timespec="seconds"),
                "secret": None if one.secret is None else one.secret.text(),
                **({"certificate": True} if one.by_certificate else {}),
            }
            for one in devices.values()
        },
        "revoked": sorted(revoked),
    }
    path, fresh = data_dir / FILE_NAME, data_dir / f"{FILE_NAME}.new"
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
            file.write(json.dumps(document, indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise OperatorError(f"{path} can't be written ({error.strerror}); nothing has changed") from error


def _revoked(document: Any) -> frozenset[str]:
    found = frozenset(document.get("revoked", ()))
    if any(not isinstance(one, str) for one in found):
        raise ValueError("revoked holds something else than ids")
    return found


def _devices(document: Any) -> dict[str, BookedDevice]:
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']!a}, this gateway knows {VERSION}")
    found = {}
    for device_id, fields in document["devices"].items():
        if DEVICE_ID.fullmatch(device_id) is None:
            raise ValueError(f"{device_id!a} is no device id")
        try:
            secret = None if fields["secret"] is None else parse_kept(fields["secret"])
        except SecretFormInvalid as error:
            raise ValueError(f"the secret of {device_id}: {error}") from error
        added_at = datetime.fromisoformat(fields["added_at"])
        found[device_id] = BookedDevice(
            device_id=device_id, added_at=added_at, secret=secret, by_certificate=fields.get("certificate") is True
        )
    return found
