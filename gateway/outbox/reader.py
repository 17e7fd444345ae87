"""Reads beside the writer: one thread, one read-only connection, one statement at a time.

In WAL mode a reader neither waits for the writer nor delays it. Each statement
reads to its end at once: a long-lived reader would let the WAL grow without bound.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from gateway.errors import Stopping
from gateway.outbox.connection import disk_unavailable, is_damage, open_for_reading, unusable
from gateway.outbox.rows import Row

T = TypeVar("T")
CLOSE_TIMEOUT_S = 1.0
Parameters = Sequence[Any] | Mapping[str, Any]


class Reader:
    """Runs statements in its own thread. Waiting ones are bounded by who asks: intake, forwarder, connections."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="outbox-reader")

    async def rows(self, sql: str, parameters: Parameters, decode: Callable[[list[Row]], T]) -> T:
        """Return ``decode(rows)``, both done in the thread. Raises DiskUnavailable, Stopping, OutboxUnusable."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, self._read, sql, parameters, decode)
        except RuntimeError as error:
            raise Stopping("the outbox is closed") from error

    def close(self) -> None:
        """Finish the statements under way and close, within CLOSE_TIMEOUT_S. Harmless when repeated."""
        with contextlib.suppress(RuntimeError, TimeoutError):  # closed before; or a disk that does not answer
            self._executor.submit(self._disconnect).result(CLOSE_TIMEOUT_S)
        self._executor.shutdown(wait=False)

    def _read(self, sql: str, parameters: Parameters, decode: Callable[[list[Row]], T]) -> T:
        try:
            if self._connection is None:
                self._connection = open_for_reading(self._path)
            return decode(self._connection.execute(sql, parameters).fetchall())
        except sqlite3.Error as error:
            self._disconnect()  # a descriptor may be dead for ever: the next statement gets a new one
            if is_damage(error):
                raise unusable(self._path, error) from error
            raise disk_unavailable(error) from error

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
