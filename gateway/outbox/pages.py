"""The pages of an SQLite file, read without SQLite: what is whole in a damaged file can be taken out of it. Pure.

SQLite gives up on a table where a page of it is bad, and on the file where the first one is; its shell's ``.recover``
is not on a board. The format is fixed for good (https://www.sqlite.org/fileformat2.html, sections 1.6, 2.1 and 4).

Invariant: whatever the bytes are, a function returns what is sound by its own lengths and order or raises
PageDamaged. Limits: UTF-8, no reserved bytes at the end of a page: what the outbox writes.
"""

import contextlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

PAGE_BYTES = 4096
HEADER = b"SQLite format 3\0"
FILE_HEADER_BYTES = 100
# A reading has at most limits.reading_bytes_max (1 MiB by default); a length beyond this is not one.
RECORD_BYTES_MAX = 64 * 1024 * 1024
Value = int | float | str | bytes | None
ReadPage = Callable[[int], bytes]


class PageDamaged(ValueError):
    """These bytes are not what they should be."""


class PageKind(IntEnum):
    """The first byte of a page of a tree."""

    INDEX_INTERIOR = 2
    TABLE_INTERIOR = 5
    INDEX_LEAF = 10
    TABLE_LEAF = 13


@dataclass(frozen=True, slots=True)
class Child:
    """A page below another: its keys are at most ``high``; None: the last one, without a bound of its own."""

    page: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Cell:
    """A row of a table: its rowid, and where its record begins."""

    rowid: int
    length: int
    begin: int


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What the first page says of the file."""

    page_bytes: int
    page_count: int
    user_version: int
    application_id: int


def file_header(first: bytes) -> FileHeader | None:
    """Return the header, or None where the bytes are not one."""
    if len(first) < FILE_HEADER_BYTES or first[:16] != HEADER:
        return None
    (page_bytes,) = struct.unpack_from(">H", first, 16)
    return FileHeader(
        page_bytes=65536 if page_bytes == 1 else page_bytes,
        page_count=_u32(first, 28),
        user_version=_u32(first, 60),
        application_id=_u32(first, 68),
    )


def page_kind(page: bytes, number: int) -> PageKind:
    """Return what a page is. Raises PageDamaged where it is no page of a tree."""
    try:
        return PageKind(page[_start(number)])
    except (ValueError, IndexError) as error:
        raise PageDamaged(f"page {number} is no page of a tree") from error


def table_children(page: bytes, number: int) -> tuple[Child, ...]:
    """Return the pages below an interior page of a table, in the order of their keys."""
    children = []
    for at in _cells(page, number, header_bytes=12):
        rowid, _ = _varint(page, at + 4)
        children.append(Child(_u32(page, at), rowid))
    highs = [child.high for child in children if child.high is not None]
    if highs != sorted(highs):
        raise PageDamaged(f"the keys of page {number} are not in order")
    return (*children, Child(_u32(page, _start(number) + 8), None))


def table_cells(page: bytes, number: int) -> tuple[Cell, ...]:
    """Return the rows of a leaf of a table, in the order of their keys."""
    cells = []
    for at in _cells(page, number, header_bytes=8):
        length, at_rowid = _varint(page, at)
        rowid, begin = _varint(page, at_rowid)
        cells.append(Cell(rowid, length, begin))
    if any(a.rowid >= b.rowid for a, b in pairwise(cells)):
        raise PageDamaged(f"the rows of page {number} are not in order")
    return tuple(cells)


def loose_cells(page: bytes, number: int) -> tuple[Cell, ...]:
    """Return what may be rows on a leaf that is not sound as a whole, in no order; the same may come twice."""
    count = min(int.from_bytes(page[_start(number) + 3 : _start(number) + 5], "big"), PAGE_BYTES // 4)
    cells = []
    for place in range(_start(number) + 8, _start(number) + 8 + 2 * count, 2):
        with contextlib.suppress(PageDamaged):
            length, at_rowid = _varint(page, int.from_bytes(page[place : place + 2], "big"))
            rowid, begin = _varint(page, at_rowid)
            cells.append(Cell(rowid, length, begin))
    return tuple(cells)


def index_cells(page: bytes, number: int, kind: PageKind) -> tuple[Cell, ...]:
    """Return the records of a page of an index, or of a table without rowids; their rowid means nothing."""
    interior = kind is PageKind.INDEX_INTERIOR
    cells = []
    for at in _cells(page, number, header_bytes=12 if interior else 8):
        length, begin = _varint(page, at + 4 if interior else at)
        cells.append(Cell(0, length, begin))
    return tuple(cells)


def index_children(page: bytes, number: int) -> tuple[int, ...]:
    """Return the pages below an interior page of an index."""
    below = [_u32(page, at) for at in _cells(page, number, header_bytes=12)]
    return (*below, _u32(page, _start(number) + 8))


def record(page: bytes, cell: Cell, *, read: ReadPage, in_index: bool = False) -> tuple[Value, ...]:
    """Return the values of a cell, read on in its overflow pages. Raises PageDamaged."""
    return decode_record(_payload(page, cell, read, in_index=in_index))


def decode_record(payload: bytes) -> tuple[Value, ...]:
    """Return the values of a record. Raises PageDamaged."""
    header_bytes, at = _varint(payload, 0)
    if header_bytes > len(payload):
        raise PageDamaged("a record's header is longer than the record")
    values: list[Value] = []
    body = header_bytes
    while at < header_bytes:
        serial, at = _varint(payload, at)
        value, body = _value(payload, serial, body)
        values.append(value)
    if body != len(payload):
        raise PageDamaged("a record's length is not the sum of its values")
    return tuple(values)


def pointer_types(page: bytes, count: int) -> bytes:
    """Return the types of the ``count`` pages that follow a pointer-map page: 1 root, 2 free, 3 and 4 overflow, 5 tree.

    Raises PageDamaged where one makes no sense: only roots and free pages have nothing above them.
    """
    entries = [(page[at], _u32(page, at + 1)) for at in range(0, PAGE_BYTES - 4, 5)][:count]
    if any(not 1 <= kind <= 5 or (kind <= 2) is not (parent == 0) for kind, parent in entries):
        raise PageDamaged("a pointer map makes no sense")
    return bytes(kind for kind, _ in entries)


def is_pointer_map(number: int) -> bool:
    """Return whether a page holds pointers: every 820th from the second on, in a file that can be vacuumed in steps."""
    return number >= 2 and (number - 2) % (PAGE_BYTES // 5 + 1) == 0


def _start(number: int) -> int:
    return FILE_HEADER_BYTES if number == 1 else 0


def _cells(page: bytes, number: int, *, header_bytes: int) -> Iterator[int]:
    """Yield where each cell begins."""
    start = _start(number)
    (count,) = struct.unpack_from(">H", page, start + 3)
    first = start + header_bytes
    if first + 2 * count > PAGE_BYTES:
        raise PageDamaged(f"page {number} can't have {count} cells")
    for at in struct.unpack_from(f">{count}H", page, first):
        if not first + 2 * count <= at < PAGE_BYTES:
            raise PageDamaged(f"a cell of page {number} lies outside of it")
        yield at


def _payload(page: bytes, cell: Cell, read: ReadPage, *, in_index: bool) -> bytes:
    local = _local_bytes(cell.length, in_index=in_index)
    held = page[cell.begin : cell.begin + local]
    if len(held) < local:
        raise PageDamaged("a record runs over the end of its page")
    if local == cell.length:
        return held
    if cell.length > RECORD_BYTES_MAX:
        raise PageDamaged("no record is so long")
    parts, missing = [held], cell.length - local
    following = _u32(page, cell.begin + local)
    while missing > 0:
        overflow = read(following)
        parts.append(overflow[4 : 4 + missing])
        missing -= PAGE_BYTES - 4
        following = _u32(overflow, 0)
    return b"".join(parts)


def _local_bytes(length: int, *, in_index: bool) -> int:
    """Return how much of a record is in its own page (section 1.6, "the amount of payload")."""
    most = (PAGE_BYTES - 12) * 64 // 255 - 23 if in_index else PAGE_BYTES - 35
    if length <= most:
        return length
    least = (PAGE_BYTES - 12) * 32 // 255 - 23
    share = least + (length - least) % (PAGE_BYTES - 4)
    return share if share <= most else least


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    try:
        for n in range(8):
            byte = data[at + n]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, at + n + 1
        value = value << 8 | data[at + 8]
    except IndexError as error:
        raise PageDamaged("a number runs over the end") from error
    return value - (1 << 64) if value >> 63 else value, at + 9


_INTEGER_BYTES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}


def _value(payload: bytes, serial: int, at: int) -> tuple[Value, int]:
    if serial in {10, 11} or serial < 0:
        raise PageDamaged(f"no value has the type {serial}")
    length = _INTEGER_BYTES.get(serial, (serial - 12) // 2)
    raw = payload[at : at + length]
    if len(raw) < length:
        raise PageDamaged("a value runs over the end of its record")
    return _decoded(serial, raw), at + length


def _decoded(serial: int, raw: bytes) -> Value:
    if serial == 0:
        return None
    if serial in {8, 9}:
        return serial - 8
    if serial == 7:
        (real,) = struct.unpack(">d", raw)
        return float(real)
    if serial < 7:
        return int.from_bytes(raw, "big", signed=True)
    if serial % 2 == 0:
        return raw
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PageDamaged("a text is not UTF-8") from error


def _u32(data: bytes, at: int) -> int:
    try:
        (value,) = struct.unpack_from(">I", data, at)
    except struct.error as error:
        raise PageDamaged("a number runs over the end") from error
    return int(value)
