"""A minimal FlatBuffers reader in which every access is checked against the end of the data. Pure.

The project needs a dozen fields of two schemas; this is smaller than generated code and, unlike it, can't be led
outside the buffer by a damaged file. Source: the FlatBuffers binary format ("FlatBuffers Internals").
"""

import struct
from typing import Self


class FlatbufferDamaged(ValueError):
    """An offset or a length points outside the data."""


class Table:
    """One table. ``slot`` is the field's index in the schema, from 0; an absent field reads as its default."""

    __slots__ = ("_data", "_position", "_vtable", "_vtable_bytes")

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - self._read("<i", position)
        self._vtable_bytes = self._read("<H", self._vtable)
        table_bytes = self._read("<H", self._vtable + 2)
        self._check(self._vtable, self._vtable_bytes)
        self._check(position, table_bytes)

    @classmethod
    def root(cls, data: bytes) -> Self:
        """Return the table that a whole buffer holds."""
        if len(data) < 8:
            raise FlatbufferDamaged(f"only {len(data)} bytes")
        return cls(data, int.from_bytes(data[:4], "little"))

    def integer(self, slot: int, layout: str = "<I", default: int = 0) -> int:
        """Return a scalar field; ``layout`` is a struct format."""
        at = self._field(slot)
        return default if at is None else self._read(layout, at)

    def table(self, slot: int) -> "Table | None":
        """Return a table or union field."""
        at = self._field(slot)
        return None if at is None else Table(self._data, self._follow(at))

    def tables(self, slot: int) -> "list[Table]":
        """Return a vector of tables."""
        start, count = self._vector(slot, 4)
        return [Table(self._data, self._follow(start + 4 * index)) for index in range(count)]

    def blob(self, slot: int) -> memoryview:
        """Return a vector of bytes, without a copy."""
        start, count = self._vector(slot, 1)
        return memoryview(self._data)[start : start + count]

    def text(self, slot: int) -> str:
        """Return a string field."""
        return bytes(self.blob(slot)).decode("utf-8", "replace")

    def integers(self, slot: int) -> tuple[int, ...]:
        """Return a vector of int32."""
        start, count = self._vector(slot, 4)
        return struct.unpack_from(f"<{count}i", self._data, start)

    def floats(self, slot: int) -> tuple[float, ...]:
        """Return a vector of float32."""
        start, count = self._vector(slot, 4)
        return struct.unpack_from(f"<{count}f", self._data, start)

    def check_vector(self, slot: int, item_bytes: int) -> None:
        """Raise FlatbufferDamaged if a vector field does not lie inside the data."""
        self._vector(slot, item_bytes)

    def _field(self, slot: int) -> int | None:
        entry = 4 + 2 * slot
        if entry + 2 > self._vtable_bytes:
            return None
        offset = self._read("<H", self._vtable + entry)
        return None if offset == 0 else self._position + offset

    def _vector(self, slot: int, item_bytes: int) -> tuple[int, int]:
        at = self._field(slot)
        if at is None:
            return 0, 0
        start = self._follow(at)
        count = self._read("<I", start)
        self._check(start + 4, count * item_bytes)
        return start + 4, count

    def _follow(self, at: int) -> int:
        return at + self._read("<I", at)

    def _read(self, layout: str, at: int) -> int:
        self._check(at, struct.calcsize(layout))
        return int(struct.unpack_from(layout, self._data, at)[0])

    def _check(self, at: int, length: int) -> None:
        if at < 0 or at + length > len(self._data):
            raise FlatbufferDamaged(f"bytes {at} to {at + length} of {len(self._data)} are missing")
