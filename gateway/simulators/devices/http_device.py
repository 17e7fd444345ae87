"""A camera and a sensor that speak HTTP as thrifty firmware should: an id for everything, sent again until answered.

What was not answered, or answered with 503, is kept and sent again after the time that the gateway names; what was
refused for good is dropped. Blocking; one thread each; bounded by ``count`` and stopped by ``stop``.
"""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gateway.errors import OperatorError

# Until the gateway names another: it starts within two seconds.
RETRY_S = 1.0
RETRY_MAX_S = 30.0
ANSWER_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDeviceOptions:
    """Where to, who, how many, how often. ``tries_max`` 0: for ever."""

    url: str
    device_id: str
    what: str = "images"  # or "readings"
    count: int = 1
    interval_s: float = 1.0
    tries_max: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the gateway said: ``status`` 0 means nothing at all."""

    submission_id: str
    status: int
    document: dict[str, Any]
    retry_after_s: float

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def for_good(self) -> bool:
        """Whether sending again can't change it."""
        return self.accepted or (400 <= self.status < 500 and self.status != 408)


class HttpDevice:
    """One device. ``tell`` gets every answer."""

    def __init__(
        self,
        options: HttpDeviceOptions,
        *,
        payloads: Iterator[bytes],
        tell: Callable[[Answer], None],
        stop: threading.Event | None = None,
    ) -> None:
        parts = urlsplit(options.url)
        if parts.scheme != "http" or not parts.hostname:
            raise OperatorError(f"{options.url} is no HTTP URL. Write it as http://127.0.0.1:8080.")
        self._options = options
        self._payloads = payloads
        self._tell = tell
        self._stop = stop or threading.Event()
        self._host, self._port = parts.hostname, parts.port or 80
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> int:
        """Send everything and return how many were accepted."""
        accepted = 0
        # Ids that no earlier run gave: milliseconds since 1970.
        first = time.time_ns() // 1_000_000
        for number in range(self._options.count):
            if number and self._stop.wait(self._options.interval_s):
                break
            accepted += self._deliver(str(first + number), next(self._payloads))
        self._hang_up()
        return accepted

    def _deliver(self, submission_id: str, payload: bytes) -> bool:
        tries = 0
        while not self._stop.is_set():
            answer = self._post(submission_id, payload)
            self._tell(answer)
            tries += 1
            if answer.for_good or tries == self._options.tries_max:
                return answer.accepted
            self._stop.wait(answer.retry_after_s)
        return False

    def _post(self, submission_id: str, payload: bytes) -> Answer:
        options = self._options
        kind = "image/jpeg" if options.what == "images" else "application/json"
        headers = {"Content-Type": kind, "Idempotency-Key": submission_id}
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_TIMEOUT_S)
            self._connection.request("POST", f"/v1/devices/{options.device_id}/{options.what}", payload, headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            self._hang_up()
            return Answer(submission_id=submission_id, status=0, document={}, retry_after_s=RETRY_S)
        return Answer(
            submission_id=submission_id,
            status=response.status,
            document=_document(body),
            retry_after_s=_seconds(response.getheader("Retry-After")),
        )

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def sentence(answer: Answer) -> str:
    """Return what the answer says, for people."""
    if answer.status == 0:
        return "no answer"
    if not answer.accepted:
        return f"{answer.status} {answer.document.get('reason', '')}".strip()
    again = ", a duplicate" if answer.document.get("duplicate") else ""
    return f"{best_label(answer.document)}sequence {sequence(answer.document)}{again}"


def best_label(document: dict[str, Any]) -> str:
    """Return the most probable label with its probability, or nothing for readings."""
    predictions = document.get("predictions") or []
    if not predictions:
        return ""
    best = max(predictions, key=lambda one: one.get("probability", 0))
    return f"{best.get('label')} {best.get('probability', 0):.1%}, "


def sequence(document: dict[str, Any]) -> int | None:
    """Return the sequence that an answer names."""
    found = document.get("sequence")
    if found is None and document.get("sequences"):
        found = document["sequences"][0]
    return found if isinstance(found, int) else None


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _seconds(retry_after: str | None) -> float:
    if retry_after is None or not retry_after.isascii() or not retry_after.isdigit():
        return RETRY_S
    return min(max(float(retry_after), RETRY_S), RETRY_MAX_S)
