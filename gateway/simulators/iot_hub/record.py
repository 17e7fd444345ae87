"""What the stand-in received: messages, refused messages, and every byte inside TLS (for the privacy test)."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

# Enough for any test; beyond it the capture is marked as cut, never silently shortened.
CAPTURE_BYTES_MAX = 256 * 1024 * 1024


@dataclass(slots=True, kw_only=True)
class ReceivedMessage:
    """One device-to-cloud message as it arrived. ``acknowledged`` turns True when its PUBACK has been written."""

    client_id: str
    connection: int
    received_at: datetime
    properties: Mapping[str, str]
    body: bytes
    duplicate_flag: bool
    acknowledged: bool = False

    @property
    def message_id(self) -> str:
        return self.properties.get("$.mid", "")

    @property
    def application_properties(self) -> dict[str, str]:
        """Return the properties without the system's own (those that start with ``$.``)."""
        return {name: value for name, value in self.properties.items() if not name.startswith("$.")}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; the body as JSON if it is, else in base64."""
        return {
            "device_id": self.client_id,
            "message_id": self.message_id,
            "content_type": self.properties.get("$.ct"),
            "content_encoding": self.properties.get("$.ce"),
            "properties": self.application_properties,
            "body": _readable(self.body),
            "body_bytes": len(self.body),
            "received_at": self.received_at.isoformat(),
            "connection": self.connection,
            "duplicate_flag": self.duplicate_flag,
            "acknowledged": self.acknowledged,
        }


class Record:
    """The memory of the stand-in; optionally also a file of JSON lines, written when a message arrives."""

    def __init__(self, file: Path | None) -> None:
        self.messages: list[ReceivedMessage] = []
        self.refused: list[ReceivedMessage] = []
        self.captured = bytearray()
        self.capture_cut = False
        self._file: IO[str] | None = file.open("a", encoding="utf-8") if file else None

    def capture(self, data: bytes) -> None:
        """Keep bytes as they came out of TLS (and out of websocket frames)."""
        if len(self.captured) + len(data) > CAPTURE_BYTES_MAX:
            self.capture_cut = True
            return
        self.captured += data

    def keep(self, message: ReceivedMessage) -> None:
        """Keep an accepted message."""
        self.messages.append(message)
        if self._file:
            self._file.write(json.dumps(message.to_json()) + "\n")
            self._file.flush()

    def clear(self) -> None:
        """Forget everything but the file."""
        self.messages.clear()
        self.refused.clear()
        self.captured.clear()
        self.capture_cut = False

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


def now() -> datetime:
    """Return the time of arrival."""
    return datetime.now(UTC)


def _readable(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return {"base64": base64.b64encode(body).decode()}
