"""Ways to damage an outbox file, page by page, as a dying card does it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from gateway.outbox.page_source import PageSource
from gateway.outbox.pages import (
    PAGE_BYTES,
    PageKind,
    index_children,
    page_kind,
    table_children,
)

NOISE = bytes(range(1, 256)) * 17


def root_of(file: Path, name: str) -> int:
    """Return the root page of a table or index."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
    return int(root)


def pages_of(file: Path, name: str, *, leaves: bool) -> list[int]:
    """Return the pages of a table or index in the order of its keys: its leaves, or those above them."""
    root = root_of(file, name)
    with closing(PageSource(file)) as source:
        return [number for number, is_leaf in _walk(source, root) if is_leaf is leaves]


def _walk(source: PageSource, number: int) -> Iterator[tuple[int, bool]]:
    page = source.read(number)
    match page_kind(page, number):
        case PageKind.TABLE_INTERIOR:
            below = [child.page for child in table_children(page, number)]
        case PageKind.INDEX_INTERIOR:
            below = list(index_children(page, number))
        case _:
            yield number, True
            return
    yield number, False
    for child in below:
        yield from _walk(source, child)


def spoil(file: Path, number: int, *, noise: bytes = NOISE, at: int = 0, length: int = PAGE_BYTES) -> None:
    """Overwrite a page, or a part of it, in place."""
    with file.open("r+b") as opened:
        opened.seek((number - 1) * PAGE_BYTES + at)
        opened.write(noise[:length])
