"""The counts of policies in the file: how many events each has held back, and whether summaries are being counted."""

import sqlite3
from collections.abc import Mapping

from gateway.outbox.queries import Queries


def has_windows(connection: sqlite3.Connection, queries: Queries) -> bool:
    """Return whether a summary is being counted. Raises sqlite3.Error."""
    (found,) = connection.execute(queries.has_windows).fetchone()
    return bool(found)


def save_policy_counts(connection: sqlite3.Connection, queries: Queries, counts: Mapping[str, int]) -> None:
    """Add what a transaction counted. Raises sqlite3.Error."""
    connection.executemany(queries.count_for_policy, list(counts.items()))


def load_policy_counts(connection: sqlite3.Connection, queries: Queries) -> Mapping[str, int]:
    """Return all counts since the file was made, and the windows that are open now. Raises sqlite3.Error."""
    (windows,) = connection.execute(queries.count_windows).fetchone()
    return dict(connection.execute(queries.select_policy_counts).fetchall()) | {"windows": windows}
