"""A damaged outbox file, read page by page: its tables as far as they hold together, and then any page that is whole.

Rows of a table come newest first, each once; between them holes: keys that lie on pages, or in rows, that can't be
read. The bounds of a hole are exact where the page above is whole. Nothing is written (gateway/outbox/page_source.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.outbox.layouts import Layout, layouts
from gateway.outbox.page_source import PageSource
from gateway.outbox.pages import (
    PAGE_BYTES,
    Cell,
    FileHeader,
    PageDamaged,
    PageKind,
    Value,
    file_header,
    index_cells,
    index_children,
    is_pointer_map,
    loose_cells,
    page_kind,
    pointer_types,
    record,
    table_cells,
    table_children,
)
from gateway.outbox.schema import APPLICATION_ID, Migration

KEY_MAX = 1 << 62
# A tree of 4 KiB pages that holds all that a disk can is not deeper; a damaged one could go round in circles.
DEPTH_MAX = 20
_ROOT, _FREE = 1, 2
SaneRow = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Hole:
    """Keys ``first``..``last`` that may have been where nothing can be read."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a page of a table gives: rows by falling key, and holes. All keys from ``first`` on are done with it."""

    first: int
    rows: tuple[SaneRow, ...]
    holes: tuple[Hole, ...]


@dataclass(frozen=True, slots=True)
class _Range:
    first: int
    last: int


class DamagedFile:
    """Opened on a file that was set aside, with its WAL. Close it after use."""

    def __init__(self, path: Path, migrations: Sequence[Migration]) -> None:
        """Look for the tables. Raises OSError where the file can't be opened."""
        self.source = PageSource(path)
        self._pointers: dict[int, bytes] = {}  # by pointer-map page; a kilobyte for 3 MB of file
        self.header = self._header()
        version = self._version(len(migrations))
        self.layouts: Mapping[str, Layout] = layouts(migrations, version)
        self.roots: Mapping[str, int] = self._roots_by_schema() or self._roots_by_pointers()

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    # --- whole tables ---

    def leaves(self, table: str, *, below: int = KEY_MAX + 1) -> Iterator[Leaf]:
        """Yield a table with rowids, newest first, of the keys under ``below``; a single hole where it has no root."""
        whole = _Range(1, KEY_MAX)
        root = self.roots.get(table)
        if root is None:
            yield Leaf(1, (), (Hole(1, below - 1),))
        else:
            yield from self._leaves(self.layouts[table], root, whole, below, depth=0)

    def is_whole(self, table: str) -> bool:
        """Return whether every row of a table with rowids can be read."""
        return not any(leaf.holes for leaf in self.leaves(table))

    def rows(self, table: str) -> Iterator[SaneRow]:
        """Yield the rows of any table, as far as they can be read."""
        layout, root = self.layouts.get(table), self.roots.get(table)
        if layout is None or root is None:
            return
        if layout.has_rowids:
            for leaf in self.leaves(table):
                yield from leaf.rows
        else:
            yield from self._index_rows(layout, root, depth=0)

    def column(self, table: str, name: str) -> Iterator[Value]:
        """Yield one column of a table, where this version of the schema has it."""
        layout = self.layouts.get(table)
        if layout is not None and name in layout.names:
            place = layout.names.index(name)
            yield from (row[place] for row in self.rows(table))

    def last_given(self, table: str) -> int | None:
        """Return the highest key that SQLite says it has given in a table with AUTOINCREMENT."""
        root = self.roots.get("sqlite_sequence")
        if root is None:
            return None
        for _, values in self._raw_rows(root):
            if len(values) == 2 and values[0] == table and isinstance(values[1], int):
                return values[1]
        return None

    # --- lost pages ---

    def lost_rows(self, table: str, number: int) -> tuple[SaneRow, ...]:
        """Return rows of a table on a page that perhaps no tree leads to any more."""
        layout = self.layouts[table]
        try:
            page = self.source.read(number)
            if number == 1 or page_kind(page, number) is not PageKind.TABLE_LEAF or self._is_free(number):
                return ()
            cells = loose_cells(page, number)
        except PageDamaged:
            return ()
        rows = (self._row(layout, page, cell) for cell in cells)
        return tuple(row for row in rows if row is not None)

    # --- inside ---

    def _header(self) -> FileHeader | None:
        try:
            return file_header(self.source.read(1))
        except PageDamaged:
            return None

    def _version(self, known: int) -> int:
        """Return the version of the schema; the newest where the file can't tell."""
        header = self.header
        if header is None or header.application_id != APPLICATION_ID or not 1 <= header.user_version <= known:
            return known
        return header.user_version

    def _roots_by_schema(self) -> Mapping[str, int]:
        rows = [values for _, values in self._raw_rows(1) if len(values) == 5]
        known = {*self.layouts, "sqlite_sequence"}
        return {
            str(name): root
            for kind, name, _, root, _ in rows
            if kind == "table" and name in known and isinstance(root, int)
        }

    def _roots_by_pointers(self) -> Mapping[str, int]:
        """Find the roots without the first page: the pointer map tells which pages are, their rows of what table."""
        roots: dict[str, int] = {}
        for number in range(3, self.source.page_count + 1):
            if not is_pointer_map(number) and self._pointer(number) == _ROOT:
                for table in self._tables_of(number):
                    roots.setdefault(table, number)
        return roots

    def _tables_of(self, root: int) -> Iterator[str]:
        """Yield the tables that the first sound row below a root can be of."""
        try:
            kind = page_kind(self.source.read(root), root)
        except PageDamaged:
            return
        has_rowids = kind in {PageKind.TABLE_LEAF, PageKind.TABLE_INTERIOR}
        raw = self._raw_rows(root) if has_rowids else self._raw_index_rows(root, depth=0)
        rowid, values = next(raw, (0, ()))
        for layout in self.layouts.values():
            if layout.has_rowids is has_rowids and len(values) > 1 and layout.row(rowid, values) is not None:
                yield layout.table
        if has_rowids and len(values) == 2 and values[0] in self.layouts:
            yield "sqlite_sequence"

    def _leaves(self, layout: Layout, number: int, within: _Range, below: int, *, depth: int) -> Iterator[Leaf]:
        if within.first >= below:
            return
        try:
            page = self.source.read(number)
            kind = page_kind(page, number)
            if kind is PageKind.TABLE_INTERIOR and depth < DEPTH_MAX:
                children = _ranges(page, number, within)
            elif kind is PageKind.TABLE_LEAF:
                yield self._leaf(layout, page, number, within, below)
                return
            else:
                raise PageDamaged(f"page {number} is not of a table")
        except PageDamaged:
            last = min(within.last, below - 1)
            yield Leaf(within.first, (), (Hole(within.first, last),))
            return
        for child, child_range in reversed(children):
            yield from self._leaves(layout, child, child_range, below, depth=depth + 1)

    def _leaf(self, layout: Layout, page: bytes, number: int, within: _Range, below: int) -> Leaf:
        try:
            cells = [cell for cell in table_cells(page, number) if cell.rowid < below]
            if any(not within.first <= cell.rowid <= within.last for cell in cells):
                raise PageDamaged(f"page {number} has keys of another")
        except PageDamaged:
            return self._loose_leaf(layout, page, number, _Range(within.first, min(within.last, below - 1)))
        read = [(cell.rowid, self._row(layout, page, cell)) for cell in reversed(cells)]
        return Leaf(
            within.first,
            tuple(row for _, row in read if row is not None),
            tuple(Hole(rowid, rowid) for rowid, row in read if row is None),
        )

    def _loose_leaf(self, layout: Layout, page: bytes, number: int, within: _Range) -> Leaf:
        """Return the rows that make sense by themselves; whatever else was there is a hole."""
        cells = {cell.rowid: cell for cell in loose_cells(page, number) if within.first <= cell.rowid <= within.last}
        read = (self._row(layout, page, cells[rowid]) for rowid in sorted(cells, reverse=True))
        rows = tuple(row for row in read if row is not None)
        return Leaf(within.first, rows, (Hole(within.first, within.last),))

    def _row(self, layout: Layout, page: bytes, cell: Cell) -> SaneRow | None:
        try:
            return layout.row(cell.rowid, record(page, cell, read=self.source.read))
        except PageDamaged:
            return None

    def _raw_rows(self, number: int, depth: int = 0) -> Iterator[tuple[int, SaneRow]]:
        try:
            page = self.source.read(number)
            kind = page_kind(page, number)
            if kind is PageKind.TABLE_INTERIOR and depth < DEPTH_MAX:
                for child in table_children(page, number):
                    yield from self._raw_rows(child.page, depth + 1)
            elif kind is PageKind.TABLE_LEAF:
                for cell in table_cells(page, number):
                    yield cell.rowid, record(page, cell, read=self.source.read)
        except PageDamaged:
            return

    def _raw_index_rows(self, number: int, *, depth: int) -> Iterator[tuple[int, SaneRow]]:
        try:
            page = self.source.read(number)
            kind = page_kind(page, number)
            below: tuple[int, ...] = ()
            if kind is PageKind.INDEX_INTERIOR and depth < DEPTH_MAX:
                below = index_children(page, number)
            elif kind is not PageKind.INDEX_LEAF:
                return
            for cell in index_cells(page, number, kind):
                yield 0, record(page, cell, read=self.source.read, in_index=True)
        except PageDamaged:
            return
        for child in below:
            yield from self._raw_index_rows(child, depth=depth + 1)

    def _index_rows(self, layout: Layout, root: int, *, depth: int) -> Iterator[SaneRow]:
        for _, values in self._raw_index_rows(root, depth=depth):
            row = layout.row(0, values)
            if row is not None:
                yield row

    def _is_free(self, number: int) -> bool:
        return self._pointer(number) == _FREE

    def _pointer(self, number: int) -> int:
        """Return the type that the pointer map gives a page; 0 where it can't be read."""
        distance = (number - 2) % (PAGE_BYTES // 5 + 1)
        types = self._pointer_types(number - distance)
        return types[distance - 1] if 0 < distance <= len(types) else 0

    def _pointer_types(self, number: int) -> bytes:
        if number not in self._pointers:
            count = min(PAGE_BYTES // 5, self.source.page_count - number)
            try:
                self._pointers[number] = pointer_types(self.source.read(number), count)
            except PageDamaged:
                self._pointers[number] = b""
        return self._pointers[number]


def _ranges(page: bytes, number: int, within: _Range) -> list[tuple[int, _Range]]:
    """Return the pages below an interior page with the keys that each may hold."""
    ranges, first = [], within.first
    for child in table_children(page, number):
        last = within.last if child.high is None else child.high
        if not first <= last <= within.last:
            raise PageDamaged(f"page {number} leads to keys of another")
        ranges.append((child.page, _Range(first, last)))
        first = last + 1
    return ranges
