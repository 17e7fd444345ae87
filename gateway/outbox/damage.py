"""What is written down of an outbox beside its file, for the day on which the file can't be read.

``outbox.epoch`` names its epochs. ``outbox.damaged`` is the order to set the file aside: written by a gateway that met
damage while it ran, or by a start that found it; it stays until a new file is in place, so that a crash in between
changes nothing (gateway/outbox/recovery.py). Each is replaced whole and synced.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway.messages import Epoch
from gateway.outbox.epochs import EpochBook
from gateway.outbox.files import sync_directory

EPOCH_NAME = "outbox.epoch"
NOTE_NAME = "outbox.damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class DamageNote:
    """Why the file is to be set aside, and what was known of it. ``aside``: the name that it gets, once chosen.

    ``key_high``: the highest key given; None where only the file could tell.
    """

    why: str
    epochs: tuple[Epoch, ...] = ()
    key_high: int | None = None
    aside: str | None = None


def write_epochs(data_dir: Path, epochs: EpochBook) -> None:
    """Return when the epochs are on disk beside the file. Raises OSError."""
    document = json.dumps({"epochs": [asdict(epoch) for epoch in epochs.all]})
    path = data_dir / EPOCH_NAME
    if not path.exists() or path.read_text(encoding="utf-8") != document:
        _replace(path, document)


def read_epochs(data_dir: Path) -> tuple[Epoch, ...]:
    """Return what was written last; nothing where that can't be read."""
    document = _document(data_dir / EPOCH_NAME)
    try:
        return _epochs(document)
    except (KeyError, TypeError):
        return ()


def write_note(data_dir: Path, note: DamageNote) -> None:
    """Return when the note is on disk. Raises OSError."""
    _replace(data_dir / NOTE_NAME, json.dumps(asdict(note)))


def read_note(data_dir: Path) -> DamageNote | None:
    """Return the order to set the file aside, if there is one."""
    document = _document(data_dir / NOTE_NAME)
    if not document:
        return None
    return DamageNote(
        why=str(document.get("why", "")),
        epochs=_epochs(document),
        key_high=document.get("key_high"),
        aside=document.get("aside"),
    )


def remove_note(data_dir: Path) -> None:
    """Return when the order is carried out and forgotten."""
    (data_dir / NOTE_NAME).unlink(missing_ok=True)
    sync_directory(data_dir)


def _epochs(document: Mapping[str, Any]) -> tuple[Epoch, ...]:
    return tuple(Epoch(**fields) for fields in document.get("epochs", ()))


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)
    sync_directory(path.parent)
