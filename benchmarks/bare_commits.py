"""The bare limit of durable rows: one thread, plain SQL, WAL, FULL, N rows of 700 B a commit; no gateway code.

Usage: ``python -m benchmarks.bare_commits FOLDER GROUP SECONDS``. Prints a JSON line.
"""

import json
import sqlite3
import sys
import time
from pathlib import Path

ROW = "x" * 700


def main(folder: Path, group: int, seconds: float) -> None:
    """Insert until the time is up; print rows a second."""
    connection = sqlite3.connect(folder / f"bare-{group}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY, device TEXT, key TEXT UNIQUE, result TEXT)")
    rows, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        connection.execute("BEGIN IMMEDIATE")
        for n in range(rows, rows + group):
            connection.execute("INSERT INTO rows VALUES (NULL, 'sensor', ?, ?)", (str(n), ROW))
        connection.execute("COMMIT")
        rows += group
    print(json.dumps({"rows_per_s": rows / seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
