"""HTTP devices: each a thread with one connection, an Idempotency-Key per submission, and patience."""

import http.client
import json
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

from tests.fakes.gateway_process import GatewayProcess
from tests.faults.payloads import Payload
from tests.faults.ways import RETRY_AFTER_MAX_S, RETRY_S, Place

DEVICES = 4
THINK_S = 0.004
ANSWER_TIMEOUT_S = 40.0


class HttpDevices:
    """Implements ``ways.Way``."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._address: tuple[str, int] | None = None
        self._running = threading.Event()
        self._ended = threading.Event()
        self._unsettled = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._live, args=(f"cam-{n}",)) for n in range(DEVICES)]
        for thread in self._threads:
            thread.start()

    def environment(self) -> Mapping[str, str]:
        return {}

    def attach(self, gateway: GatewayProcess) -> None:
        parts = urlsplit(gateway.http)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = (parts.hostname, parts.port)

    def detach(self) -> None:
        """Nothing to do: devices notice by themselves."""

    def resume(self) -> None:
        self._running.set()

    def pause(self) -> None:
        self._running.clear()

    def settled(self) -> bool:
        with self._lock:
            return self._unsettled == 0

    def close(self) -> None:
        self._ended.set()
        self._running.set()
        for thread in self._threads:
            thread.join()

    def _live(self, device_id: str) -> None:
        while not self._ended.is_set():
            self._running.wait()
            with self._lock:
                self._unsettled += 1
            payload = self._place.payloads.next()
            while not self._ended.is_set() and not self._deliver(device_id, payload):
                self._ended.wait(RETRY_S)
            with self._lock:
                self._unsettled -= 1
            self._ended.wait(THINK_S)

    def _deliver(self, device_id: str, payload: Payload) -> bool:
        """Return whether the gateway has answered for good."""
        if self._address is None:
            return False
        connection = http.client.HTTPConnection(*self._address, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.connect()
        except OSError:
            return False
        try:
            return self._submit(connection, device_id, payload)
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            self._place.ledger.cut()
            return False
        finally:
            connection.close()

    def _submit(self, connection: http.client.HTTPConnection, device_id: str, payload: Payload) -> bool:
        kind = "images" if payload.is_picture else "readings"
        headers = {"Idempotency-Key": f"key-{payload.number}"}
        if not payload.is_picture:
            headers["Content-Type"] = "application/json"
        connection.request("POST", f"/v1/devices/{device_id}/{kind}", body=payload.data, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == http.client.OK:
            self._place.ledger.acknowledge(payload.sha256, json.loads(body)["sequence"])
            return True
        if answer.status == http.client.SERVICE_UNAVAILABLE:
            self._ended.wait(min(RETRY_AFTER_MAX_S, float(answer.getheader("Retry-After", "1"))))
            return False
        self._place.ledger.refuse(payload.sha256)
        return True
