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

from gateway.errors import DiskUnavailable, OutboxDamaged, Stopping
from gateway.outbox.connection import damaged, disk_unavailable, is_damage, open_for_reading
from gateway.outbox.rows import Row

T = TypeVar("T")
CLOSE_TIMEOUT_S = 1.0
Parameters = Sequence[Any] | Mapping[str, Any]


class Reader:
    """Runs statements in its own thread. Waiting ones are bounded by who asks: intake, forwarder, connections.

    ``on_damage`` is told, in that thread, of damage that a fresh look shows again.
    """

    def __init__(self, path: Path, *, on_damage: Callable[[OutboxDamaged], None] = lambda _: None) -> None:
        self._path = path
        self._on_damage = on_damage
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="outbox-reader")

    async def rows(self, sql: str, parameters: Parameters, decode: Callable[[list[Row]], T]) -> T:
        """Return ``decode(rows)``, both done in the thread. Raises DiskUnavailable, Stopping, OutboxDamaged."""
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
            return self._attempt(sql, parameters, decode)
        except sqlite3.Error as error:
            self._disconnect()  # a descriptor may be dead for ever: the next statement gets a new one
            if not is_damage(error):
                raise disk_unavailable(error) from error
        # A card that was taken out looks damaged, too. So damage is believed when the file, opened anew, shows it.
        try:
            return self._attempt(sql, parameters, decode)
        except sqlite3.Error as error:
            self._disconnect()
            if is_damage(error):
                damage = damaged(self._path, error)
                self._on_damage(damage)
                raise damage from error
            raise disk_unavailable(error) from error

    def _attempt(self, sql: str, parameters: Parameters, decode: Callable[[list[Row]], T]) -> T:
        return decode(self._connected().execute(sql, parameters).fetchall())

    def _connected(self) -> sqlite3.Connection:
        """Return a connection to the file that has the name now: a card put back is another file system."""
        try:
            found = self._path.stat()
        except OSError as error:
            raise DiskUnavailable(f"the outbox can't be found: {error.strerror}") from error
        identity = (found.st_dev, found.st_ino)
        if self._connection is None or identity != self._identity:
            self._disconnect()
            self._connection, self._identity = open_for_reading(self._path), identity
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()
