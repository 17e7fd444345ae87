"""The devices of the demo, each a thread that does what its firmware would, and writes down what it was told."""

import itertools
import json
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from gateway.errors import OperatorError
from gateway.simulators.demo.gallery import Gallery
from gateway.simulators.demo.logbook import Logbook
from gateway.simulators.devices.http_device import Answer, HttpDevice, HttpDeviceOptions, best_label, sentence, sequence
from gateway.simulators.devices.mqtt_camera import CameraOptions, MqttCamera
from gateway.simulators.devices.mqtt_messages import Form

# Longer than any demo.
FOR_EVER = 1_000_000
RETRY_S = 1.0
MQTT_WAIT_S = 8.0
# Pictures between those that two cameras begin with: they are seldom seen with the same.
APART = 7


class DemoDevices:
    """Starts devices and stops them; each ends within a few seconds of ``stop``."""

    def __init__(self, logbook: Logbook, *, seed: int, interval_s: float, gallery: Gallery) -> None:
        self._logbook = logbook
        self._seed = seed
        self._interval_s = interval_s
        self._gallery = gallery
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def http_camera(self, device_id: str, url: str) -> None:
        """Start a camera that posts pictures."""
        shots = self._logbook.watching(device_id, self._gallery.shots(APART * len(self._threads)))
        self._start(device_id, "HTTP", lambda: self._http(device_id, url, "images", shots))

    def http_sensor(self, device_id: str, url: str) -> None:
        """Start a sensor that posts readings."""
        payloads = temperatures(self._seed + len(self._threads))
        self._start(device_id, "HTTP", lambda: self._http(device_id, url, "readings", payloads))

    def mqtt_camera(self, device_id: str, url: str, form: Form, way: str) -> None:
        """Start a camera that publishes pictures."""
        shots = self._logbook.watching(device_id, self._gallery.shots(APART * len(self._threads)))
        self._start(device_id, way, lambda: self._mqtt(device_id, url, form, shots))

    async def stop(self, wait: Callable[[Callable[[], None]], Any]) -> None:
        """Stop all; ``wait`` runs what blocks elsewhere."""
        self._stopped.set()
        for thread in self._threads:
            await wait(thread.join)

    def _start(self, device_id: str, way: str, run: Callable[[], None]) -> None:
        self._logbook.enter(device_id, way)
        thread = threading.Thread(target=run, name=device_id, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _http(self, device_id: str, url: str, what: str, payloads: Iterator[bytes]) -> None:
        def tell(answer: Answer) -> None:
            if answer.accepted:
                said = best_label(answer.document).rstrip(", ") or "reading kept"
                self._logbook.accepted(device_id, answer.submission_id, sequence(answer.document), said)
            else:
                self._logbook.put_off(device_id, sentence(answer))

        options = HttpDeviceOptions(
            url=url, device_id=device_id, what=what, count=FOR_EVER, interval_s=self._interval_s
        )
        HttpDevice(options, payloads=payloads, tell=tell, stop=self._stopped).run()

    def _mqtt(self, device_id: str, url: str, form: Form, shots: Iterator[bytes]) -> None:
        def heard(submission_id: str, result: dict[str, Any] | None) -> None:
            if result is not None and result.get("status") == "accepted":
                said = best_label(result).rstrip(", ")
                self._logbook.accepted(device_id, submission_id, sequence(result), said)
            else:
                self._logbook.put_off(device_id, "no answer yet" if result is None else str(result.get("reason")))

        options = CameraOptions(
            url=url,
            device_id=device_id,
            count=FOR_EVER,
            interval_s=self._interval_s,
            form=form,
            chunk_bytes=4096,
            wait_s=MQTT_WAIT_S,
        )
        while not self._stopped.is_set():
            camera = MqttCamera(options, pictures=shots, tell=lambda _: None, heard=heard, stop=self._stopped)
            try:
                camera.run()
            except OperatorError:
                self._stopped.wait(RETRY_S)  # nobody listens there just now


def temperatures(seed: int) -> Iterator[bytes]:
    """Yield readings of a cold store for ever: a slow swing and a little noise."""
    rng = random.Random(seed)  # noqa: S311  weather, not a secret
    for n in itertools.count():
        celsius = 4.0 + 1.5 * math.sin(n / 20) + rng.gauss(0, 0.1)
        reading = {"temperature_c": round(celsius, 2), "at_s": round(time.monotonic(), 1)}
        yield json.dumps(reading).encode()
