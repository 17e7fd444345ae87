"""Bundles: what waits for the cloud, in one signed file that somebody carries there, and the word that it arrived.

A bundle is text. Each line but the last is an envelope as the hub would get it (docs/envelope.schema.json), at most
240 KB, so the receiving office hands each to the same consumer. The last line, the seal, says how many items there are,
the SHA-256 of all lines before it and an Ed25519 signature over the seal. The key is made at the first start and never
leaves the site.

An acknowledgement names that SHA-256 and is not signed: it is worth what the person is worth who brings it, and can
mark nothing but what was in a bundle of this very outbox.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.errors import OperatorError

FORMAT = "gateway-bundle/1"
ACK_FORMAT = "gateway-bundle-ack/1"
KEY_NAME = "bundle.key"
SUFFIX = ".gwbundle"
_KEY_BYTES = 32
# A seal has a range for each epoch; a longer last line is not one.
SEAL_BYTES_MAX = 1024 * 1024
ACK_BYTES_MAX = 64 * 1024
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRange:
    """From which to which sequence a bundle has items of an epoch."""

    epoch: str
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The last line of a bundle. ``public_key`` is base64."""

    gateway_id: str
    epoch: str
    created_at: str
    events: int
    tombstones: int
    ranges: tuple[EpochRange, ...]
    sha256: str
    public_key: str

    def document(self) -> dict[str, Any]:
        """Return what is signed, as JSON fields."""
        ranges = [
            {"epoch": r.epoch, "first_sequence": r.first_sequence, "last_sequence": r.last_sequence}
            for r in self.ranges
        ]
        return {
            "format": FORMAT,
            "gateway_id": self.gateway_id,
            "epoch": self.epoch,
            "created_at": self.created_at,
            "events": self.events,
            "tombstones": self.tombstones,
            "ranges": ranges,
            "sha256": self.sha256,
            "public_key": self.public_key,
        }


# --- the key ------------------------------------------------------------------------------------------


def ensure_key(data_dir: Path) -> bytes:
    """Return the site's private key, made where there is none (mode 0600, synced). Raises OperatorError, OSError.

    32 random bytes are an Ed25519 private key (RFC 8032, section 5.1.5): nothing heavy is loaded to make one.
    """
    path = data_dir / KEY_NAME
    if not path.exists():
        with suppress(FileExistsError):  # made by another process in this moment
            _create(path, base64.b64encode(os.urandom(_KEY_BYTES)) + b"\n")
    try:
        key = base64.b64decode(path.read_bytes().strip(), validate=True)
    except ValueError as error:
        raise OperatorError(f"{path} is no key: delete it, and tell those who verify bundles of the new one") from error
    if len(key) != _KEY_BYTES:
        raise OperatorError(f"{path} is cut off: delete it, and tell those who verify bundles of the new one")
    return key


def public_key(data_dir: Path) -> str:
    """Return the public key in base64: what verifies the bundles of this site."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(ensure_key(data_dir))
    return base64.b64encode(private.public_key().public_bytes_raw()).decode()


def _create(path: Path, content: bytes) -> None:
    """Write a new file whole, or not at all; raises FileExistsError where there is one."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
        os.link(new, path)  # unlike a rename it never replaces
    finally:
        os.close(descriptor)
        new.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- writing ------------------------------------------------------------------------------------------


class BundleWriter:
    """A bundle under construction, in the folder where it will be. Use it as a context manager: leaving removes it.

    ``add`` lines, ``seal`` it, then ``publish``: from then on it is there, whole and synced, under its name.
    """

    def __init__(self, target: Path, *, gateway_id: str) -> None:
        """``target``: a folder, then the name is made up; or a file that does not exist yet."""
        self._is_folder = target.is_dir()
        self._target = target
        self._gateway_id = gateway_id
        folder = target if self._is_folder else target.parent
        if not self._is_folder and target.exists():
            raise OperatorError(f"{target} is there already: a bundle never replaces a file")
        self._partial = folder / f".{gateway_id}-{os.urandom(6).hex()}.partial"
        self._file = os.open(self._partial, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._sha256 = hashlib.sha256()
        self._events = self._tombstones = 0
        self._ranges: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> "BundleWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._partial.unlink(missing_ok=True)

    def add(self, envelope: bytes, *, epoch: str, sequences: Iterable[int], tombstones: int) -> None:
        """Write one envelope, which is one line of JSON."""
        assert b"\n" not in envelope, "JSON without line breaks"
        self._write(envelope + b"\n")
        self._sha256.update(envelope + b"\n")
        self._tombstones += tombstones
        for sequence in sequences:
            self._events += 1
            first, last = self._ranges.get(epoch, (sequence, sequence))
            self._ranges[epoch] = min(first, sequence), max(last, sequence)

    def seal(self, private_key: bytes, *, epoch: str, created_at: datetime) -> Seal:
        """Write the last line and return when all is on the stick."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(private_key)
        seal = Seal(
            gateway_id=self._gateway_id,
            epoch=epoch,
            created_at=created_at.isoformat(timespec="seconds"),
            events=self._events,
            tombstones=self._tombstones,
            ranges=tuple(
                EpochRange(epoch=name, first_sequence=first, last_sequence=last)
                for name, (first, last) in self._ranges.items()
            ),
            sha256=self._sha256.hexdigest(),
            public_key=base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        )
        signature = base64.b64encode(key.sign(_signed(seal.document()))).decode()
        self._write(_json(seal.document() | {"signature": signature}) + b"\n")
        os.fsync(self._file)
        return seal

    def publish(self, seal: Seal) -> Path:
        """Give the file its name and return it, when that is on the stick."""
        path = self._target
        if self._is_folder:
            stamp = "".join(c for c in seal.created_at[:19] if c.isalnum())
            # What waits may be the same twice in a second, and the clock may stand: chance makes the name its own.
            path = self._target / f"{self._gateway_id}-{stamp}-{seal.sha256[:8]}-{os.urandom(4).hex()}{SUFFIX}"
        if path.exists():
            raise OperatorError(f"{path} is there already: a bundle never replaces a file")
        self._partial.rename(path)  # sticks with FAT know no links
        _sync_directory(path.parent)
        return path

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]


def _signed(document: Mapping[str, Any]) -> bytes:
    return f"{FORMAT}\n".encode() + json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


# --- reading ------------------------------------------------------------------------------------------


def verify(path: Path, *, known_key: str | None = None) -> Seal:
    """Return the seal of a bundle that is whole and signed. Raises OperatorError with what is wrong; OSError.

    Without ``known_key`` this says that nobody changed it since it was sealed with the key in it, not whose that is.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    document, content_bytes = _last_line(path)
    try:
        seal = _seal(document)
        signature = base64.b64decode(document.pop("signature"), validate=True)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(seal.public_key, validate=True))
        key.verify(signature, _signed(document))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise OperatorError(f"{path} is no bundle, or its last line is damaged: {error}") from error
    except InvalidSignature as error:
        raise OperatorError(f"{path}: the signature is not right: the file was changed") from error
    if _sha256_of(path, content_bytes) != seal.sha256:
        raise OperatorError(f"{path}: the content is not what was sealed: it is damaged or was changed")
    if known_key is not None and known_key != seal.public_key:
        raise OperatorError(f"{path} is signed with another key, {seal.public_key}: it is not of the site you named")
    return seal


def envelopes(path: Path) -> Iterator[bytes]:
    """Yield the envelopes of a bundle; verify it first."""
    with path.open("rb") as file:
        line = file.readline()
        while line and (following := file.readline()):
            yield line.rstrip(b"\n")
            line = following


def _last_line(path: Path) -> tuple[dict[str, Any], int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - SEAL_BYTES_MAX))
        end = file.read()
    begin = end.rstrip(b"\n").rfind(b"\n") + 1
    try:
        document = json.loads(end[begin:])
    except ValueError as error:
        raise OperatorError(f"{path} is no bundle, or it was cut off: the stick was pulled out too early?") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise OperatorError(f"{path} is no bundle, or it was cut off: its last line is not a seal")
    return document, size - len(end) + begin


def _seal(document: Mapping[str, Any]) -> Seal:
    return Seal(
        gateway_id=str(document["gateway_id"]),
        epoch=str(document["epoch"]),
        created_at=str(document["created_at"]),
        events=int(document["events"]),
        tombstones=int(document["tombstones"]),
        ranges=tuple(EpochRange(**fields) for fields in document["ranges"]),
        sha256=str(document["sha256"]),
        public_key=str(document["public_key"]),
    )


def _sha256_of(path: Path, content_bytes: int) -> str:
    counted = hashlib.sha256()
    with path.open("rb") as file:
        while content_bytes and (block := file.read(min(_READ_BYTES, content_bytes))):
            counted.update(block)
            content_bytes -= len(block)
    return counted.hexdigest()


# --- acknowledgements ---------------------------------------------------------------------------------


def acknowledgement(seal: Seal, *, by: str, at: datetime) -> str:
    """Return the text that tells a site that a bundle arrived."""
    document = {
        "format": ACK_FORMAT,
        "gateway_id": seal.gateway_id,
        "bundle_sha256": seal.sha256,
        "events": seal.events,
        "acknowledged_at": at.isoformat(timespec="seconds"),
        "by": by,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def read_acknowledgement(path: Path, *, gateway_id: str) -> str:
    """Return the hash of the bundle that arrived. Raises OperatorError; OSError."""
    with path.open("rb") as file:
        text = file.read(ACK_BYTES_MAX)
    try:
        document = json.loads(text)
        is_one = document["format"] == ACK_FORMAT
        sha256, of = str(document["bundle_sha256"]), str(document["gateway_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise OperatorError(f"{path} is no acknowledgement: `gateway outbox make-ack BUNDLE` makes one") from error
    if not is_one:
        raise OperatorError(f"{path} is no acknowledgement: `gateway outbox make-ack BUNDLE` makes one")
    if of != gateway_id:
        raise OperatorError(f"{path} is for the gateway {of}, not for {gateway_id}")
    return sha256
