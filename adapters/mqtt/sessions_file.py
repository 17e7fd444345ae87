"""Sessions on disk: what a device and we agree on must outlive a restart of the gateway.

A device that is told "no session" may forget what it has not seen acknowledged; and a redelivery is known by the life
of its session. So lives and subscriptions are appended to a file, one JSON object a line, the last of a key counts.
A line that can't be read (the last one, after a power cut) is skipped: that session then begins anew.
"""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from adapters.mqtt.sessions import SessionKey, SessionRecord

log = structlog.get_logger(__name__)

FILE_NAME = "mqtt-sessions.jsonl"
# The file is written anew when it has this many lines more than there are sessions.
SPARE_LINES_MAX = 4096


class SessionsFile:
    """Appends changes, several in one fsync. ``path`` None keeps nothing."""

    def __init__(self, path: Path | None, *, current: Callable[[], Sequence[SessionRecord]]) -> None:
        self._path = path
        self._current = current
        # A blank line first: the last line of an earlier process may be torn.
        self._pending: list[str] = ["\n"]
        self._waiting: list[asyncio.Future[None]] = []
        self._lines = 0
        self._writer: asyncio.Task[None] | None = None

    async def load(self) -> list[SessionRecord]:
        """Return the sessions of an earlier process, oldest first."""
        if self._path is None:
            return []
        try:
            text = await asyncio.to_thread(_read, self._path)
        except OSError as error:
            log.warning("mqtt_sessions_not_read", path=str(self._path), error=str(error))
            return []
        found: dict[SessionKey, SessionRecord] = {}
        for line in filter(None, text.splitlines()):
            self._lines += 1
            _apply(line, found)
        return list(found.values())

    async def keep(self, record: SessionRecord) -> None:
        """Return when the session is on disk (or the disk failed, which is logged: the session still works)."""
        if self._path is not None:
            written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(written)
            self._note(_line(record.key, record), self._path)
            await written

    def note(self, record: SessionRecord) -> None:
        """Note a change that nobody waits for; written soon."""
        if self._path is not None:
            self._note(_line(record.key, record), self._path)

    def forget(self, key: SessionKey) -> None:
        """Note that a session is over; written soon."""
        if self._path is not None:
            self._note(_line(key, None), self._path)

    async def flushed(self) -> None:
        """Return when all that was noted is written."""
        if self._writer is not None:
            await asyncio.wait({self._writer})

    def _note(self, line: str, path: Path) -> None:
        self._pending.append(line)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(path), name="mqtt-sessions-file")

    async def _write(self, path: Path) -> None:
        while self._pending:
            lines, self._pending = self._pending, []
            waiting, self._waiting = self._waiting, []
            self._lines += len(lines)
            current = list(self._current())
            anew = self._lines > len(current) + SPARE_LINES_MAX
            if anew:
                lines = [_line(record.key, record) for record in current]
                self._lines = len(lines)
            try:
                await asyncio.to_thread(_replace if anew else _append, path, "".join(lines))
            except OSError as error:
                log.warning("mqtt_sessions_not_saved", path=str(path), error=str(error))
            for written in waiting:
                if not written.done():
                    written.set_result(None)


def _line(key: SessionKey, record: SessionRecord | None) -> str:
    document: dict[str, object] = {"client": key.client_id, "device": key.device_id}
    if record is not None:
        document |= {"life": record.life, "expiry_s": record.expiry_s, "subscriptions": record.subscriptions}
    return json.dumps(document) + "\n"


def _apply(line: str, found: dict[SessionKey, SessionRecord]) -> None:
    try:
        document = json.loads(line)
        key = SessionKey(client_id=str(document["client"]), device_id=document["device"])
        found.pop(key, None)
        if "life" in document:
            found[key] = SessionRecord(
                key=key,
                life=str(document["life"]),
                expiry_s=int(document["expiry_s"]),
                subscriptions=tuple((str(one), int(qos)) for one, qos in document["subscriptions"]),
            )
    except (ValueError, KeyError, TypeError):
        log.warning("mqtt_session_line_skipped")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
