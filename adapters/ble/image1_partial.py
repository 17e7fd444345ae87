"""The chunks of one ``gateway-image-1`` transfer: what came, what is missing, whether the whole is right. Pure."""

import zlib
from collections.abc import Iterator, Sequence
from itertools import islice

from adapters.ble.image1 import Announce, Chunk, Range


class PartialTransfer:
    """Memory: ``total_bytes`` plus a byte for each chunk, taken when it is announced and never more."""

    def __init__(self, announce: Announce) -> None:
        self.announce = announce
        self._data = bytearray(announce.total_bytes)
        self._have = bytearray(announce.chunks)
        self._came = 0

    @property
    def came(self) -> int:
        """How many chunks are here."""
        return self._came

    @property
    def held_bytes(self) -> int:
        """The memory that it takes."""
        return len(self._data) + len(self._have)

    @property
    def is_full(self) -> bool:
        return self._came == len(self._have)

    def put(self, chunk: Chunk) -> bool:
        """Take a chunk; return whether it was news. One of another size than announced is not taken."""
        if chunk.index >= len(self._have) or self._have[chunk.index]:
            return False
        if len(chunk.data) != self.announce.bytes_of(chunk.index):
            return False
        start = chunk.index * self.announce.chunk_bytes
        self._data[start : start + len(chunk.data)] = chunk.data
        self._have[chunk.index] = 1
        self._came += 1
        return True

    def missing(self, ranges_max: int) -> Sequence[Range]:
        """Return the first ranges of chunks that are not here."""
        return tuple(islice(self._gaps(), ranges_max))

    def payload(self) -> bytes | None:
        """Return the whole, or None if its CRC-32 is not the announced one."""
        assert self.is_full, "ask only when nothing is missing"
        return bytes(self._data) if zlib.crc32(self._data) == self.announce.crc32 else None

    def clear(self) -> None:
        """Forget every chunk: one of them is wrong, and nobody knows which."""
        self._have = bytearray(len(self._have))
        self._came = 0

    def _gaps(self) -> Iterator[Range]:
        first = self._have.find(0)
        while first >= 0:
            after = self._have.find(1, first)
            end = len(self._have) if after < 0 else after
            yield Range(first=first, count=end - first)
            first = self._have.find(0, end)
