"""A camera that speaks MQTT 3.1.1: publishes pictures, waits for each PUBACK, hears what came of it.

It behaves as a device in the field should: an id for every picture, QoS 1, a session that outlives the connection,
nothing forgotten before the result is in. What is missing of a picture in chunks it asks for and sends again.
Bounded in count and, for every wait, in time.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from gateway.errors import OperatorError
from gateway.simulators.devices.mqtt_messages import Form, Message, Shot, messages, question

PORTS = {"mqtt": 1883, "mqtts": 8883}
KEEPALIVE_S = 30
# How often a picture in chunks is asked for and mended before the camera gives it up.
MENDINGS_MAX = 3
POLL_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraOptions:
    """Where to, who, how many, how often, in which form. ``wait_s`` bounds every wait."""

    url: str
    device_id: str = "cam-1"
    count: int = 1
    interval_s: float = 1.0
    form: Form = Form.RAW
    qos: int = 1
    chunk_bytes: int = 512
    wait_s: float = 30.0
    username: str = ""
    password: str = ""
    ca_file: str = ""


@dataclass(slots=True)
class CameraSummary:
    """Pictures: sent, acknowledged (all their messages), and what came back."""

    sent: int = 0
    acknowledged: int = 0
    accepted: int = 0
    refused: int = 0

    @property
    def unanswered(self) -> int:
        return self.sent - self.accepted - self.refused

    @property
    def all_well(self) -> bool:
        return self.sent == self.acknowledged == self.accepted

    def __str__(self) -> str:
        return (
            f"sent {self.sent}, acknowledged {self.acknowledged}, accepted {self.accepted}, refused {self.refused}, "
            f"unanswered {self.unanswered}"
        )


class MqttCamera:
    """One camera. ``tell`` gets a line for each thing worth knowing, ``heard`` each picture's id and result, if any."""

    def __init__(
        self,
        options: CameraOptions,
        *,
        pictures: Iterator[bytes],
        tell: Callable[[str], None],
        heard: Callable[[str, dict[str, Any] | None], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._options = options
        self._heard = heard
        self._stop = stop or threading.Event()
        self._pictures = pictures
        self._tell = tell
        self._client = self._made_client()
        # What the network thread learns; all of it under one condition.
        self._news = threading.Condition()
        self._subscribed = False
        self._acknowledged: set[int] = set()
        self._results: dict[str, dict[str, Any]] = {}
        self._fault = ""

    def run(self) -> CameraSummary:
        """Send all pictures and return what came of them. Raises OperatorError if nobody answers at ``url``."""
        summary = CameraSummary()
        self._connect()
        try:
            # Ids that no earlier run gave: milliseconds since 1970.
            first = time.time_ns() // 1_000_000
            for number in range(self._options.count):
                if (number and self._stop.wait(self._options.interval_s)) or self._stop.is_set():
                    break
                self._shoot(first + number, summary)
        finally:
            self._client.disconnect()
            self._client.loop_stop()
        self._tell(f"{self._options.device_id}: {summary}")
        return summary

    # --- one picture ---

    def _shoot(self, number: int, summary: CameraSummary) -> None:
        options = self._options
        shot = Shot(
            device_id=options.device_id, number=number, picture=next(self._pictures), taken_at=datetime.now(UTC)
        )
        summary.sent += 1
        started = time.monotonic()
        acknowledged = self._publish(messages(shot, options.form, chunk_bytes=options.chunk_bytes))
        summary.acknowledged += acknowledged
        puback_ms = (time.monotonic() - started) * 1000
        result = self._result(shot)
        if self._heard is not None:
            self._heard(shot.submission_id, result)
        told = f"PUBACK after {puback_ms:.0f} ms" if acknowledged else f"no PUBACK within {options.wait_s:g} s"
        self._tell(f"{options.device_id} picture {number}, {len(shot.picture)} bytes: {told}; {_sentence(result)}")
        if result is not None:
            summary.accepted += result.get("status") == "accepted"
            summary.refused += result.get("status") == "refused"

    def _publish(self, batch: Sequence[Message]) -> bool:
        """Publish all, wait for all; return whether every one was acknowledged (at QoS 0: sent)."""
        waiting = {self._client.publish(message.topic, message.payload, qos=self._options.qos).mid for message in batch}
        acknowledged = self._wait(lambda: waiting <= self._acknowledged)
        with self._news:
            # Message ids are given again after 65,535.
            self._acknowledged -= waiting
        return acknowledged

    def _result(self, shot: Shot) -> dict[str, Any] | None:
        """Wait for the result; for a picture in chunks, mend what is missing."""
        for _ in range(MENDINGS_MAX if self._options.form is Form.CHUNKS else 0):
            if self._wait(lambda: shot.submission_id in self._results, self._options.wait_s / (MENDINGS_MAX + 1)):
                break
            self._mend(shot)
        self._wait(lambda: self._final(shot) is not None)
        return self._final(shot)

    def _final(self, shot: Shot) -> dict[str, Any] | None:
        result = self._results.get(shot.submission_id)
        return None if result is None or result.get("status") == "incomplete" else result

    def _mend(self, shot: Shot) -> None:
        """Ask what is missing, and send it."""
        self._publish([question(shot, chunk_bytes=self._options.chunk_bytes)])
        self._wait(lambda: shot.submission_id in self._results)
        result = self._results.get(shot.submission_id, {})
        if result.get("status") != "incomplete":
            return
        del self._results[shot.submission_id]
        everything = messages(shot, Form.CHUNKS, chunk_bytes=self._options.chunk_bytes)
        missing = [everything[index] for first, last in result["missing"] for index in range(first, last + 1)]
        self._tell(f"{shot.device_id} picture {shot.number}: sends {len(missing)} missing chunks again")
        self._publish(missing)

    def _wait(self, happened: Callable[[], bool], wait_s: float | None = None) -> bool:
        with self._news:
            return self._news.wait_for(happened, self._options.wait_s if wait_s is None else wait_s)

    # --- the connection ---

    def _made_client(self) -> Any:
        import paho.mqtt.client as paho

        options = self._options
        client = paho.Client(f"{options.device_id}-simulated", clean_session=False, protocol=paho.MQTTv311)
        client.reconnect_delay_set(1, 5)
        if options.username:
            client.username_pw_set(options.username, options.password or None)
        if urlsplit(options.url).scheme == "mqtts":
            client.tls_set(ca_certs=options.ca_file or None)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _connect(self) -> None:
        place = urlsplit(self._options.url)
        if place.scheme not in PORTS or not place.hostname:
            raise OperatorError(f"{self._options.url} is no MQTT URL. Write it as mqtt://127.0.0.1:1883.")
        try:
            self._client.connect(place.hostname, place.port or PORTS[place.scheme], KEEPALIVE_S)
        except (OSError, ValueError) as error:
            raise OperatorError(
                f"Nobody answers at {self._options.url} ({error}). Start the gateway or broker, or give another --url."
            ) from error
        self._client.loop_start()
        if not self._wait(lambda: self._subscribed or bool(self._fault)) or self._fault:
            self._client.loop_stop()
            raise OperatorError(f"{self._options.url} did not accept the camera: {self._fault or 'no answer in time'}.")

    def _on_connect(self, client: Any, _userdata: object, _flags: object, code: int) -> None:
        import paho.mqtt.client as paho

        if code != 0:
            with self._news:
                self._fault = paho.connack_string(code)
                self._news.notify_all()
            return
        client.subscribe(f"devices/{self._options.device_id}/results", qos=1)

    def _on_subscribe(self, _client: object, _userdata: object, _mid: int, _granted: object) -> None:
        with self._news:
            self._subscribed = True
            self._news.notify_all()

    def _on_publish(self, _client: object, _userdata: object, mid: int) -> None:
        with self._news:
            self._acknowledged.add(mid)
            self._news.notify_all()

    def _on_message(self, _client: object, _userdata: object, message: Any) -> None:
        try:
            result = json.loads(message.payload)
            submission_id = str(result["submission_id"])
        except (ValueError, TypeError, KeyError):
            self._tell(f"{self._options.device_id}: hears {message.payload[:200]!a}")
            return
        with self._news:
            self._results[submission_id] = result
            self._news.notify_all()


def _sentence(result: dict[str, Any] | None) -> str:
    if result is None:
        return "no result came back"
    if result.get("status") != "accepted":
        return f"{result.get('status')}: {result.get('reason')}: {result.get('detail')}"
    best = max(result.get("predictions") or [{}], key=lambda one: one.get("probability", 0))
    duplicate = ", a duplicate" if result.get("duplicate") else ""
    return f"{best.get('label')} {best.get('probability', 0):.1%}, sequence {result['sequence']}{duplicate}"
