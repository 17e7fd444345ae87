"""The chunks of one ``gateway-image-1`` transfer: what came, what is missing, whether the whole is right. Pure."""

import zlib
from collections.abc import Iterator, Sequence
from itertools import islice

from adapters.ble.image1 import CHUNK_FORM, CHUNK_HEADER_BYTES, CHUNK_MARK, Announce, Range


class PartialTransfer:
    """Memory: ``total_bytes`` plus a byte for each chunk, taken when it is announced and never more."""

    def __init__(self, announce: Announce) -> None:
        self.announce = announce
        self._data = bytearray(announce.total_bytes)
        self._have = bytearray(announce.chunks)
        self._chunk_bytes = announce.chunk_bytes
        self._came = 0
        self.id_low = announce.transfer_id & 0xFF
        # How every chunk of this transfer begins; another id's low byte tells a straggler.
        self.chunk_start = CHUNK_MARK + bytes([self.id_low])

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

    def put(self, packet: bytes) -> bool:
        """Take a CHUNK packet; return whether the whole is here now, by this one.

        It begins with ``chunk_start``. Not taken: one known already, one of another size than announced.
        """
        if len(packet) <= CHUNK_HEADER_BYTES:
            return False
        index = CHUNK_FORM.unpack_from(packet)[2]
        if index >= len(self._have) or self._have[index]:
            return False
        start = index * self._chunk_bytes
        end = min(start + self._chunk_bytes, len(self._data))
        if len(packet) - CHUNK_HEADER_BYTES != end - start:
            return False
        self._data[start:end] = packet[CHUNK_HEADER_BYTES:]
        self._have[index] = 1
        self._came += 1
        return self._came == len(self._have)

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
