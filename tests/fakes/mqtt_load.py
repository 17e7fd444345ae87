"""Devices under test of crashes: distinct payloads over MQTT, and what the outbox file holds of them."""

import hashlib
import itertools
import json
import sqlite3
import struct
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Self

from tests.fakes.ledger import assert_gap_free
from tests.fakes.mosquitto import Endpoint, Publisher
from tests.fakes.pictures import small_picture

PAUSE_S = 0.004  # between messages: some 200 a second, a tenth of what the gateway takes
PICTURE_EVERY = 10
# A device has no memory for more: on a slow machine the load follows what is taken, and ends in bounded time.
OUTSTANDING_MAX = 400
DRAIN_TIMEOUT_S = 60.0


def picture(number: int) -> bytes:
    """Return a picture whose bytes are its own: two plain colours can give the same JPEG, so a comment tells them."""
    note = str(number).encode()
    plain = small_picture(number)
    return plain[:2] + b"\xff\xfe" + struct.pack("!H", 2 + len(note)) + note + plain[2:]


class Load:
    """A device that publishes distinct payloads, with ids of its own in the topic or without."""

    def __init__(self, endpoint: Endpoint, *, with_ids: bool, qos: tuple[int, ...] = (1,)) -> None:
        self._publisher = Publisher(endpoint)
        self._qos = itertools.cycle(qos)
        self._with_ids = with_ids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self.sent: set[str] = set()
        self._sha256: dict[str, str] = {}

    @property
    def acknowledged_at(self) -> dict[str, float]:
        return self._publisher.acknowledged_at

    @property
    def acknowledged(self) -> set[str]:
        """SHA-256 of what was acknowledged to the device."""
        return {self._sha256[name] for name in self.acknowledged_at if name in self._sha256}

    def _run(self) -> None:
        for number in itertools.count():
            if self._stop.wait(PAUSE_S):
                return
            while self._publisher.outstanding >= OUTSTANDING_MAX:
                if self._stop.wait(PAUSE_S):
                    return
            kind = "images" if number % PICTURE_EVERY == 0 else "readings"
            payload = picture(number) if kind == "images" else json.dumps({"n": number}).encode()
            suffix = f"/n-{number}" if self._with_ids else ""
            self._publisher.publish(f"n-{number}", f"devices/cam-1/{kind}{suffix}", payload, qos=next(self._qos))
            self._sha256[f"n-{number}"] = sha256 = hashlib.sha256(payload).hexdigest()
            self.sent.add(sha256)

    def __enter__(self) -> Self:
        self._publisher.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._publisher.__exit__()

    def wait_for_more(self) -> None:
        """Return when something more was acknowledged: the device is connected again."""
        before = len(self.acknowledged_at)
        give_up_at = time.monotonic() + DRAIN_TIMEOUT_S
        while len(self.acknowledged_at) == before and time.monotonic() < give_up_at:
            time.sleep(0.02)

    def stop(self) -> None:
        """Publish no more, and return when the broker has acknowledged everything."""
        self._stop.set()
        self._thread.join()
        self._publisher.wait_acknowledged(len(self.sent), DRAIN_TIMEOUT_S)


def rows(data_dir: Path, column: str) -> Counter[str]:
    """Return how often each value of a column is in the outbox file."""
    with closing(sqlite3.connect(f"file:{data_dir / 'outbox.db'}?mode=ro", uri=True)) as connection:
        assert_gap_free(sequence for (sequence,) in connection.execute("SELECT sequence FROM events"))
        return Counter(value for (value,) in connection.execute(f"SELECT {column} FROM events"))


def wait_until_stored(data_dir: Path, column: str, expected: set[str]) -> Counter[str]:
    """Return what is stored, once everything expected is there or nothing more can be hoped for."""
    give_up_at = time.monotonic() + DRAIN_TIMEOUT_S
    while not expected <= set(found := rows(data_dir, column)) and time.monotonic() < give_up_at:
        time.sleep(0.1)
    return found
