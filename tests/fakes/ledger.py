"""What a sceptic compares: keys acknowledged to devices, rows in the file, items at the hub."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway.simulators.iot_hub.record import ReceivedMessage


def stored(data_dir: Path) -> dict[str, int]:
    """Return submission id → sequence of every event in the outbox file, read as any reader would."""
    with closing(sqlite3.connect(f"file:{data_dir / 'outbox.db'}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT submission_id, sequence FROM events"))


def assert_gap_free(sequences: Iterable[int]) -> None:
    """Fail unless the sequences are 1..n, each once."""
    found = sorted(sequences)
    assert found == list(range(1, len(found) + 1)), f"sequences are not 1..{len(found)}"


def items(messages: Iterable[ReceivedMessage]) -> list[tuple[tuple[str, str, int], dict[str, Any]]]:
    """Return (dedupe key, item) of everything that the hub received, doubles included."""
    return [
        ((envelope["gateway_id"], envelope["epoch"], item["sequence"]), item)
        for envelope in (json.loads(message.body) for message in messages)
        for item in envelope["items"]
    ]


def deduplicated(messages: Iterable[ReceivedMessage]) -> dict[str, int]:
    """Return submission id → sequence after dropping doubles by the key; fails if the key hides a difference."""
    by_key: dict[tuple[str, str, int], dict[str, Any]] = {}
    for key, item in items(messages):
        assert by_key.setdefault(key, item) == item, f"two different items under {key}"
    ids = Counter(item["submission_id"] for item in by_key.values())
    assert max(ids.values(), default=1) == 1, "one submission under two sequences"
    return {item["submission_id"]: item["sequence"] for item in by_key.values()}
