"""Secrets from ``*_file`` keys, and warnings about secrets that others on the machine can read."""

import stat
from dataclasses import replace
from pathlib import Path

from gateway.settings.given import Given
from gateway.settings.keys import Key, dotted, is_secret, leaves
from gateway.settings.problems import Problem

_SECRET_BYTES_MAX = 64 * 1024  # a secret is one line; anything larger is the wrong file


def secret_pairs() -> tuple[tuple[Key, Key], ...]:
    """Return (secret, its ``*_file`` key) for every secret that has one."""
    files = ((key, (*key[:-1], f"{key[-1]}_file")) for key in leaves() if is_secret(key))
    return tuple((key, file) for key, file in files if file in leaves())


def read_secret(secret: Key, from_file: Given) -> Given | Problem:
    """Return what the file of ``from_file`` holds, stripped, as a value of ``secret``; or what is wrong with it."""
    path = Path(str(from_file.value))
    try:
        with path.open("rb") as file:
            text = file.read(_SECRET_BYTES_MAX + 1).decode().strip()
    except UnicodeDecodeError:
        return from_file.problem("this file is not text", "Put the secret into it as one line, nothing else.")
    except OSError as error:
        return from_file.problem(
            _reason(error), "Name a file that holds the secret and that the gateway's user may read."
        )
    if not text or len(text) > _SECRET_BYTES_MAX or "\n" in text:
        fault = "this file is empty" if not text else "this file holds more than one line"
        return from_file.problem(fault, "Put the secret into it as one line, nothing else.")
    return replace(from_file, key=secret, value=text, where=f"{from_file.where} ({dotted(from_file.key)})")


def exposure(given: Given) -> Problem | None:
    """Return a warning when every user of the machine can read the file that ``given`` names."""
    path = Path(str(given.value))
    try:
        exposed = bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return None  # told elsewhere
    if not exposed:
        return None
    return given.problem("every user of this machine can read this secret", f"Close it: chmod o-rwx {path}")


def _reason(error: OSError) -> str:
    return f"this file can't be read: {(error.strerror or 'unknown reason').lower()}"
