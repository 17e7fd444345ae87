"""What simulated devices send: small pictures and readings, no two alike."""

import hashlib
import itertools
import json
import threading
from dataclasses import dataclass

from tests.fakes.mqtt_load import picture

PICTURE_EVERY = 4
# Readings share a level for so long that each device sends some of the same: policies look at it.
LEVEL_EVERY = 24


def level_of(number: int) -> int:
    """Return what of a reading stays the same for a while."""
    return number // LEVEL_EVERY


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One submission. ``number`` is unique within its run and serves as the device's own id."""

    number: int
    is_picture: bool
    data: bytes
    sha256: str


class Payloads:
    """Hands out distinct payloads to any thread."""

    def __init__(self, run: str) -> None:
        """``run`` goes into each payload, so that no two runs send the same bytes."""
        self._run = run
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._readings: dict[str, int] = {}

    def next(self, *, is_picture: bool | None = None) -> Payload:
        """Return one that was never handed out; one in ``PICTURE_EVERY`` is a picture, unless asked otherwise."""
        with self._lock:
            number = next(self._numbers)
        if is_picture is None:
            is_picture = number % PICTURE_EVERY == 0
        data = picture(number) if is_picture else self._reading(number)
        made = Payload(number=number, is_picture=is_picture, data=data, sha256=hashlib.sha256(data).hexdigest())
        if not is_picture:
            self._readings[made.sha256] = number
        return made

    def number_of_reading(self, sha256: str) -> int:
        """Return the number of a reading that was handed out."""
        return self._readings[sha256]

    def _reading(self, number: int) -> bytes:
        return json.dumps({"run": self._run, "n": number, "level": level_of(number)}).encode()
