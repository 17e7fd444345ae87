"""What simulated devices send: small pictures and readings, no two alike."""

import hashlib
import itertools
import json
import threading
from dataclasses import dataclass

from tests.fakes.mqtt_load import picture

PICTURE_EVERY = 4


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

    def next(self) -> Payload:
        """Return one that was never handed out."""
        with self._lock:
            number = next(self._numbers)
        is_picture = number % PICTURE_EVERY == 0
        data = picture(number) if is_picture else json.dumps({"run": self._run, "n": number}).encode()
        return Payload(number=number, is_picture=is_picture, data=data, sha256=hashlib.sha256(data).hexdigest())
