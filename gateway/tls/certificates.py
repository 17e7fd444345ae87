"""Where a listener's certificate comes from: files of the operator's, or the local authority."""

import contextlib
import hashlib
import json
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from gateway.errors import AdapterUnavailable
from gateway.tls.files import AUTHORITY, COVERED, FOLDER, SERVER, SERVER_KEY

# A slow card and a busy core: it takes half a second as a rule.
ISSUE_TIMEOUT_S = 60.0
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class Certificate(Protocol):
    """Files that a listener shows."""

    setting: str  # where it was named, for errors
    certificate_file: Path
    key_file: Path

    @property
    def trusted_file(self) -> Path | None:
        """What a client has to trust, where it is no authority that clients know."""

    @property
    def is_due(self) -> bool:
        """Whether ``ensure`` has something to do."""

    def ensure(self) -> None:
        """Return when the files are there and fit. Blocks. Raises AdapterUnavailable."""

    def describe(self) -> str:
        """Return in a line what devices have to trust."""


class OwnCertificate:
    """The operator's."""

    is_due = False
    trusted_file = None

    def __init__(self, certificate_file: Path, key_file: Path, *, setting: str = "tls.certificate_file") -> None:
        self.setting = setting
        self.certificate_file = certificate_file
        self.key_file = key_file

    def ensure(self) -> None:
        """Do nothing: the files are the operator's."""

    def describe(self) -> str:
        return f"{self.certificate_file} (SHA-256 {fingerprint(self.certificate_file)})"


class LocalCertificate:
    """Signed by the local authority for the names and addresses that the host has; made anew when it gets others.

    Names that it had stay in it, so that a host whose address comes and goes needs no new one each time.
    """

    NAMES_MAX = 64
    setting = "tls"

    def __init__(self, data_dir: Path, names: Callable[[], Sequence[str]]) -> None:
        self._folder = data_dir / FOLDER
        self._names = names
        self.certificate_file = self._folder / SERVER
        self.key_file = self._folder / SERVER_KEY
        self.trusted_file = self._folder / AUTHORITY
        self._issuing = threading.Lock()  # two listeners start at once

    @property
    def is_due(self) -> bool:
        return not set(self._wanted()) <= set(self._covered()) or not self.certificate_file.exists()

    def ensure(self) -> None:
        with self._issuing:
            self._issue_if_due()

    def _issue_if_due(self) -> None:
        if not self.is_due:
            return
        wanted = list(dict.fromkeys([*self._wanted(), *self._covered()]))[: self.NAMES_MAX]
        command = [sys.executable, "-m", "gateway.tls.authority", str(self._folder), *wanted]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=ISSUE_TIMEOUT_S)  # noqa: S603  our own
        except (OSError, subprocess.SubprocessError) as error:
            last = (getattr(error, "stderr", None) or b"").decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise AdapterUnavailable(
                f"no certificate could be made in {self._folder}: {last or error}; check its owner and the disk"
            ) from error

    def _wanted(self) -> list[str]:
        return list(self._names())[: self.NAMES_MAX]

    def _covered(self) -> list[str]:
        """Return the names of the certificate that is there; none if another authority has come since."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            covered = json.loads((self._folder / COVERED).read_bytes())
            if covered["authority"] == fingerprint(self.trusted_file):
                return [name for name in covered["names"] if isinstance(name, str)]
        return []

    def describe(self) -> str:
        return f"local; devices trust {self.trusted_file} (SHA-256 {fingerprint(self.trusted_file)})"


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of the first certificate of a PEM file, as ``openssl x509 -fingerprint`` writes it."""
    try:
        found = _PEM.search(path.read_text(encoding="latin-1"))
        der = ssl.PEM_cert_to_DER_cert(found[0]) if found else b""
    except (OSError, ValueError):
        der = b""
    return hashlib.sha256(der).digest().hex(":").upper() if der else "unreadable"
