"""Remembers, across restarts, which life of our session at the broker this is, and what it is subscribed to.

Why a file. A redelivery without a device's own id is recognised by client, session, packet id, topic and bytes. Packet
ids begin anew with each life of a session, and a sensor that says only "open" and "closed" repeats its bytes: with one
name for all lives, a first delivery that was cut off could be taken for one of an earlier life, and be lost. So each
life has its own name, minted when the broker says that it has no session of ours. After kill -9 the broker says that
it has one, and the name must be the same as before, so it is on disk before the first SUBSCRIBE. If the file is lost
or can't be written, the worst is a double. Between the broker's word and the file lies a moment in which a kill leaves
a new life under the old name; nothing is subscribed at that moment.

The filters tell whether a retained message is new to us: a broker sends it again with every SUBSCRIBE.
"""

import contextlib
import json
import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

FILE_NAME = "mqtt-session.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLife:
    """One life of a session. ``key`` says whose and where; ``filters`` are those that the broker has granted."""

    key: str
    name: str
    filters: tuple[str, ...] = ()


class SessionFile:
    """Owns ``mqtt-session.json`` in the data directory."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME
        self._life: SessionLife | None = None

    def enter(self, key: str, *, present: bool) -> SessionLife:
        """Return the life that continues, or a new one that is on disk already."""
        known = self._life or self._read()
        if present and known is not None and known.key == key:
            self._life = known
            return known
        return self._keep(SessionLife(key=key, name=uuid.uuid4().hex))

    def granted(self, filters: tuple[str, ...]) -> None:
        """Remember what the broker has subscribed us to."""
        assert self._life is not None, "enter() comes first"
        if self._life.filters != filters:
            self._keep(replace(self._life, filters=filters))

    def _keep(self, life: SessionLife) -> SessionLife:
        self._life = life
        document = {"key": life.key, "name": life.name, "filters": life.filters}
        try:
            _write_durably(self._path, json.dumps(document, indent=1).encode())
        except OSError as error:
            log.warning("mqtt_session_not_kept", file=str(self._path), error=str(error))
        return life

    def _read(self) -> SessionLife | None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(self._path.read_bytes())
            return SessionLife(key=str(found["key"]), name=str(found["name"]), filters=tuple(found["filters"]))
        return None


def _write_durably(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
