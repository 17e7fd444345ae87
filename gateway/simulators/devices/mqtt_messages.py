"""One picture as the messages that a device makes of it, by form. Pure.

Written from docs/PROTOCOLS.md and not from the gateway's code: what the two agree on is then the protocol.
"""

import base64
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Form(StrEnum):
    """How a device packs a picture."""

    RAW = "raw"
    BASE64 = "base64"
    DATA_URL = "data-url"
    HEX = "hex"
    CHUNKS = "chunks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One publish."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A picture that was taken: its number is its id."""

    device_id: str
    number: int
    picture: bytes
    taken_at: datetime

    @property
    def submission_id(self) -> str:
        return str(self.number)


def messages(shot: Shot, form: Form, *, chunk_bytes: int) -> Sequence[Message]:
    """Return the publishes of one picture: one, or as many as it has chunks of ``chunk_bytes``."""
    if form is Form.CHUNKS:
        return _chunks(shot, chunk_bytes)
    if form in {Form.RAW, Form.HEX}:
        payload = shot.picture if form is Form.RAW else shot.picture.hex().encode()
        return [Message(topic=f"devices/{shot.device_id}/images/{shot.submission_id}", payload=payload)]
    text = base64.b64encode(shot.picture).decode()
    document = {
        "id": shot.submission_id,
        "captured_at": shot.taken_at.isoformat(),
        "image": text if form is Form.BASE64 else f"data:image/jpeg;base64,{text}",
    }
    return [Message(topic=f"devices/{shot.device_id}/images", payload=json.dumps(document).encode())]


def _chunks(shot: Shot, chunk_bytes: int) -> list[Message]:
    picture = shot.picture
    parts = [picture[start : start + chunk_bytes] for start in range(0, len(picture), chunk_bytes)]
    return [
        Message(topic=f"devices/{shot.device_id}/chunks", payload=_header(shot, index, len(parts)) + part)
        for index, part in enumerate(parts)
    ]


def question(shot: Shot, *, chunk_bytes: int) -> Message:
    """Return the publish that asks which chunks of a picture are missing: a header without data."""
    count = -(-len(shot.picture) // chunk_bytes)
    return Message(topic=f"devices/{shot.device_id}/chunks", payload=_header(shot, 0, count))


def _header(shot: Shot, index: int, count: int) -> bytes:
    size, crc32 = len(shot.picture), zlib.crc32(shot.picture)
    return b"C\x01\x00\x00" + struct.pack(">QHHII", shot.number, index, count, size, crc32)
