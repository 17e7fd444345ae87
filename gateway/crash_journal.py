"""Remembers which payloads were being worked on, so that a crash can name its suspects.

A native crash (a segmentation fault in a decoder or an interpreter) takes the
process with it. The hashes of pictures in work stand in a small memory-mapped
file; the kernel keeps its pages when the process dies, so no sync is needed: a
power cut is no crash and may forget them. ``gateway run`` tells the next
process how the last one ended, and only a native crash makes suspects.
"""

import mmap
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

HASH_BYTES = 32
EMPTY = bytes(HASH_BYTES)


class CrashJournal(Protocol):
    """Names what is being worked on."""

    def working_on(self, payload_sha256: str) -> AbstractContextManager[None]:
        """Return a context in which ``payload_sha256`` (hex) is a suspect if the process dies."""


class MappedCrashJournal:
    """The journal in ``path``: ``slots`` hashes of 32 bytes each, zeros where free."""

    def __init__(self, path: Path, *, slots: int) -> None:
        self.path = path
        size = slots * HASH_BYTES
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            found = os.pread(descriptor, 1 << 20, 0)
            os.ftruncate(descriptor, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self.leftovers: tuple[str, ...] = tuple(
            found[at : at + HASH_BYTES].hex()
            for at in range(0, len(found) - HASH_BYTES + 1, HASH_BYTES)
            if found[at : at + HASH_BYTES] != EMPTY
        )
        self._map[:] = bytes(size)
        self._free = list(range(slots))

    @contextmanager
    def working_on(self, payload_sha256: str) -> Iterator[None]:
        """Name the payload while inside. Beyond ``slots`` it is not named: the bound is the intake's own."""
        if not self._free:
            yield
            return
        slot = self._free.pop()
        at = slot * HASH_BYTES
        self._map[at : at + HASH_BYTES] = bytes.fromhex(payload_sha256)
        try:
            yield
        finally:
            self._map[at : at + HASH_BYTES] = EMPTY
            self._free.append(slot)

    def close(self) -> None:
        """Release the map; the file stays."""
        self._map.close()
