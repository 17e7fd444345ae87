"""Pictures in pieces, for modems whose buffers hold a few hundred bytes. Pure: the time is passed in.

One publish is one chunk. All numbers are unsigned, big-endian:

    byte   0      0x43, the letter C
    byte   1      version: 1
    bytes  2-3    zero, for later use
    bytes  4-11   id of the picture, chosen by the device: a counter, a time, a random number
    bytes 12-13   index of the chunk, from 0
    bytes 14-15   count of chunks, from 1
    bytes 16-19   bytes of the whole picture
    bytes 20-23   CRC-32 of the whole picture (zlib's: polynomial 0x04C11DB7 reflected, ISO-HDLC)
    bytes 24-     data: at least one byte. None at all is a question: what is missing?

Chunks come in any order, may repeat, and may differ in length. A device has one unfinished picture for each id: an
announcement that differs (a device that restarted and counts anew) replaces it. Invariants: a picture is held until
it is settled (committed or refused), expires, is replaced, or is dropped for room; all but the first leave a
:class:`Dropped` for its device. ``bytes_held`` never exceeds ``bytes_max``, nor the number of pictures
``partials_max``. Settled ones are remembered for a while, so that a chunk that is sent again does not begin a picture
that never ends.
"""

import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from adapters.mqtt.refusals import ChunkInvalid, ChunksConflict, ChunksCorrupt
from gateway.errors import PayloadTooLarge

HEADER = struct.Struct(">BBHQHHII")
MAGIC = 0x43
VERSION = 1
# What CPython holds for a chunk beside its data: the bytes object, its place in the dict, the index.
CHUNK_COST_BYTES = 128
# Ranges of missing indexes that one answer tells; the rest is asked for again.
MISSING_RANGES_MAX = 32

SettledT = TypeVar("SettledT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What every chunk of a picture says of the whole."""

    picture_id: int
    count: int
    picture_bytes: int
    crc32: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One chunk. Without data it only asks what is missing."""

    whole: Announcement
    index: int
    data: bytes

    @property
    def is_question(self) -> bool:
        return not self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureKey:
    """Whose picture, and which."""

    device_id: str
    whole: Announcement


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Not complete yet. What is held is in memory only: a crash of the gateway forgets it."""

    missing_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """All there, and the CRC-32 is right. The chunks stay until :meth:`PartialPictures.settle`."""

    picture: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A picture that was given up; its device must send all of it again."""

    key: PictureKey
    reason: str
    detail: str


@dataclass(slots=True)
class _Partial:
    key: PictureKey
    touched_s: float
    chunks: dict[int, bytes] = field(default_factory=dict)
    data_bytes: int = 0

    @property
    def cost(self) -> int:
        return self.data_bytes + CHUNK_COST_BYTES * len(self.chunks)


def parse_chunk(payload: bytes) -> Chunk:
    """Return the chunk in ``payload``; ChunkInvalid says which bytes are wrong."""
    if len(payload) < HEADER.size:
        raise ChunkInvalid(f"a chunk has {HEADER.size} bytes of header; this one has {len(payload)} bytes in all")
    magic, version, zero, picture_id, index, count, picture_bytes, crc32 = HEADER.unpack_from(payload)
    if magic != MAGIC:
        raise ChunkInvalid(f"byte 0 is 0x{magic:02x}, not 0x{MAGIC:02x}")
    if version != VERSION:
        raise ChunkInvalid(f"byte 1 says version {version}; this gateway knows {VERSION}")
    if zero:
        raise ChunkInvalid("bytes 2-3 are not zero")
    data = payload[HEADER.size :]
    if not 0 < count <= picture_bytes:
        raise ChunkInvalid(f"{count} chunks can't make {picture_bytes} bytes: each has at least one")
    if index >= count:
        raise ChunkInvalid(f"index {index} is not below count {count}")
    if len(data) > picture_bytes - (count - 1):
        raise ChunkInvalid(
            f"{len(data)} bytes of data leave too few for the others of {count} chunks of {picture_bytes} bytes"
        )
    whole = Announcement(picture_id=picture_id, count=count, picture_bytes=picture_bytes, crc32=crc32)
    return Chunk(whole=whole, index=index, data=data)


def split_picture(picture: bytes, *, picture_id: int, data_bytes: int) -> list[bytes]:
    """Return the payloads that carry ``picture`` in chunks of at most ``data_bytes``: what a device does."""
    parts = [picture[start : start + data_bytes] for start in range(0, len(picture), data_bytes)]
    crc32 = zlib.crc32(picture)
    return [
        HEADER.pack(MAGIC, VERSION, 0, picture_id, index, len(parts), len(picture), crc32) + part
        for index, part in enumerate(parts)
    ]


class PartialPictures(Generic[SettledT]):
    """Unfinished pictures of all devices, bounded in number, bytes and time. ``SettledT`` is what became of one."""

    def __init__(self, *, timeout_s: float, bytes_max: int, partials_max: int, picture_bytes_max: int) -> None:
        self._timeout_s = timeout_s
        self._bytes_max = bytes_max
        self._partials_max = partials_max
        self._picture_bytes_max = min(picture_bytes_max, bytes_max)
        # Both in the order of their last use, oldest first. Partials by device and id.
        self._partials: OrderedDict[tuple[str, int], _Partial] = OrderedDict()
        self._settled: OrderedDict[PictureKey, tuple[float, SettledT]] = OrderedDict()
        self._dropped: list[Dropped] = []
        self.bytes_held = 0

    def __len__(self) -> int:
        return len(self._partials)

    def add(self, key: PictureKey, chunk: Chunk, now_s: float) -> Held | Complete:
        """Take in a chunk; a question changes nothing. A conflict leaves what is held as it is.

        Raises ChunksConflict, ChunksCorrupt (then the picture is forgotten) and PayloadTooLarge.
        """
        self.expire(now_s)
        partial = self._find(key)
        if not chunk.is_question:
            self._check_size(chunk)
            partial = partial or self._begun(key, now_s)
            self._put(partial, chunk, now_s)
        return Held(missing_count=key.whole.count) if partial is None else self._progress(partial)

    def missing(self, key: PictureKey) -> tuple[tuple[int, int], ...]:
        """Return the first MISSING_RANGES_MAX ranges of indexes (both ends included) that have not come."""
        partial = self._find(key)
        present = () if partial is None else sorted(partial.chunks)
        return tuple(islice(_gaps(present, key.whole.count), MISSING_RANGES_MAX))

    def settle(self, key: PictureKey, outcome: SettledT, now_s: float) -> None:
        """Forget the chunks of a picture that was committed or refused, and remember what became of it."""
        partial = self._find(key)
        if partial is not None:
            self._remove(partial)
        self._settled[key] = (now_s, outcome)
        self._settled.move_to_end(key)
        while len(self._settled) > self._partials_max:
            self._settled.popitem(last=False)

    def settled(self, key: PictureKey, now_s: float) -> SettledT | None:
        """Return what became of a picture lately, or None."""
        self.expire(now_s)
        known = self._settled.get(key)
        return None if known is None else known[1]

    def expire(self, now_s: float) -> None:
        """Drop pictures whose last chunk is older than the timeout."""
        while self._partials and (oldest := next(iter(self._partials.values()))).touched_s <= now_s - self._timeout_s:
            self._drop(oldest, "chunks_timed_out", f"no chunk came for {self._timeout_s:g} s")
        while self._settled and next(iter(self._settled.values()))[0] <= now_s - self._timeout_s:
            self._settled.popitem(last=False)

    def take_dropped(self) -> Sequence[Dropped]:
        """Return what was dropped since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def _check_size(self, chunk: Chunk) -> None:
        whole = chunk.whole
        if whole.picture_bytes + CHUNK_COST_BYTES * whole.count > self._picture_bytes_max:
            raise PayloadTooLarge(
                f"{whole.picture_bytes} bytes in {whole.count} chunks, of {CHUNK_COST_BYTES} bytes overhead each, "
                f"exceed the {self._picture_bytes_max} that a picture in chunks may take",
                hint="send a smaller picture, or larger chunks, or raise mqtt.chunks.partial_bytes_max",
            )

    def _find(self, key: PictureKey) -> _Partial | None:
        partial = self._partials.get(_name(key))
        return partial if partial is not None and partial.key == key else None

    def _begun(self, key: PictureKey, now_s: float) -> _Partial:
        other = self._partials.get(_name(key))
        if other is not None:
            self._drop(other, "chunks_replaced", f"the same id was announced anew with {_told(key.whole)}")
        while len(self._partials) >= self._partials_max:
            self._drop_oldest()
        partial = self._partials[_name(key)] = _Partial(key=key, touched_s=now_s)
        return partial

    def _put(self, partial: _Partial, chunk: Chunk, now_s: float) -> None:
        known = partial.chunks.get(chunk.index)
        if known is not None and known != chunk.data:
            raise ChunksConflict(f"chunk {chunk.index} of id {chunk.whole.picture_id} came before with other data")
        partial.touched_s = now_s
        self._partials.move_to_end(_name(partial.key))
        if known is not None:
            return
        self._check_room_for_others(partial, chunk)
        partial.chunks[chunk.index] = chunk.data
        partial.data_bytes += len(chunk.data)
        self.bytes_held += len(chunk.data) + CHUNK_COST_BYTES
        while self.bytes_held > self._bytes_max:
            self._drop_oldest()

    @staticmethod
    def _check_room_for_others(partial: _Partial, chunk: Chunk) -> None:
        """Refuse data beyond the announced size while there are chunks to come."""
        whole = chunk.whole
        to_come = whole.count - len(partial.chunks) - 1
        most = whole.picture_bytes - to_come
        if partial.data_bytes + len(chunk.data) > most:
            raise ChunksConflict(f"id {whole.picture_id} has more data than the {whole.picture_bytes} bytes announced")

    def _progress(self, partial: _Partial) -> Held | Complete:
        whole = partial.key.whole
        if len(partial.chunks) < whole.count:
            return Held(missing_count=whole.count - len(partial.chunks))
        picture = b"".join(partial.chunks[index] for index in range(whole.count))
        if len(picture) != whole.picture_bytes or zlib.crc32(picture) != whole.crc32:
            self._remove(partial)
            raise ChunksCorrupt(
                f"{len(picture)} bytes with CRC-32 {zlib.crc32(picture):08x} came, announced were {_told(whole)}"
            )
        return Complete(picture=picture)

    def _drop_oldest(self) -> None:
        oldest = next(iter(self._partials.values()))
        self._drop(oldest, "chunks_crowded_out", "other unfinished pictures needed the memory")

    def _drop(self, partial: _Partial, reason: str, detail: str) -> None:
        self._remove(partial)
        progress = f"{len(partial.chunks)} of {partial.key.whole.count} chunks had come"
        self._dropped.append(Dropped(key=partial.key, reason=reason, detail=f"{detail}; {progress}"))
        # Nobody may be listening: the newest matter.
        del self._dropped[: -self._partials_max]

    def _remove(self, partial: _Partial) -> None:
        del self._partials[_name(partial.key)]
        self.bytes_held -= partial.cost


def _name(key: PictureKey) -> tuple[str, int]:
    return key.device_id, key.whole.picture_id


def _told(whole: Announcement) -> str:
    return f"{whole.picture_bytes} bytes in {whole.count} chunks, CRC-32 {whole.crc32:08x}"


def _gaps(present: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges below ``count`` that ``present``, sorted, leaves out."""
    next_one = 0
    for index in (*present, count):
        if index > next_one:
            yield next_one, index - 1
        next_one = index + 1
