"""Tables for people."""

from collections.abc import Iterable

from gateway.printable import one_line

# Wider than any row that is printed.
PIPE_COLUMNS = 10_000


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print rows under ``head``; a head of empty texts is left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*head, show_header=any(head), box=None, pad_edge=False)
    for row in rows:
        # Text, not markup, and nothing that a terminal obeys: some of it is what devices sent.
        drawn.add_row(*(Text(one_line(cell)) for cell in row))
    console = Console()
    # In a pipe nothing is cut to a terminal's width: a program reads it, or less does.
    (console if console.is_terminal else Console(width=PIPE_COLUMNS)).print(drawn)
