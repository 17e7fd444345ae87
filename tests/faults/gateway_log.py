"""The gateway's log, over all its lives, as somebody outside reads it: line by line while it grows.

Each reader has a place of its own. A line that a kill cut short, and what was written behind it, is no line.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class GatewayLog:
    """Reads what has come since it was asked last. Not thread-safe."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_bytes = 0
        self._counts: Counter[str] = Counter()

    def new_lines(self) -> Iterator[Mapping[str, Any]]:
        """Yield the whole lines that are new."""
        for line in self._new_bytes().splitlines():
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            if isinstance(fields, dict):
                self._counts[str(fields.get("event"))] += 1
                yield fields

    def count(self, event: str) -> int:
        """Return how often this was logged up to now."""
        for _ in self.new_lines():
            pass
        return self._counts[event]

    def _new_bytes(self) -> bytes:
        if not self._file.exists():
            return b""
        with self._file.open("rb") as file:
            file.seek(self._read_bytes)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read_bytes += len(whole) + len(newline)
        return whole
