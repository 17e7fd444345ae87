"""The files of the local authority, in ``tls/`` of the data directory. They are written whole, durably, mode 0600."""

import os
from pathlib import Path

FOLDER = "tls"
AUTHORITY = "authority.pem"
AUTHORITY_KEY = "authority.key"
SERVER = "server.pem"
SERVER_KEY = "server.key"
# Which names the server's certificate covers, so that they are known without taking it apart.
COVERED = "server-names.json"


def write_durably(path: Path, data: bytes) -> None:
    """Return when ``path`` holds ``data``, on disk, for its owner's eyes only. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
