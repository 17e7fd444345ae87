"""MQTT devices: paho with a kept session and QoS 1, every other one without ids of its own."""

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import paho.mqtt.client as mqtt

from gateway.simulators.ports import free_port
from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.mosquitto import Mosquitto, end_device
from tests.fakes.mqtt_witness import MqttWitness
from tests.faults.payloads import Payload
from tests.faults.ways import Place

DEVICES = 2
WINDOW = 4
THINK_S = 0.008
KEEPALIVE_S = 10
RECONNECT_S = 0.1
# Through a broker devices run ahead of the gateway, as they may; bounded, so that a cycle ends.
AHEAD_MAX = 24


class MqttDevice:
    """One device: keeps ``WINDOW`` submissions under way while it is told to and has a connection."""

    def __init__(
        self, place: Place, *, name: str, with_ids: bool, port: int, on_acknowledged: Callable[[Payload], None]
    ) -> None:
        self._place = place
        self._name = name
        self._with_ids = with_ids
        self._on_acknowledged = on_acknowledged
        self._under_way: dict[int, Payload] = {}
        self._settled_early: set[int] = set()
        self._lock = threading.Lock()
        self._port = port
        self._client = mqtt.Client(name, clean_session=False)
        self._client.reconnect_delay_set(RECONNECT_S, RECONNECT_S)
        self._client.on_publish = self._published
        self._client.on_disconnect = self._disconnected
        self.cuts_count = True

    def start(self) -> None:
        """Begin to seek a connection, and keep seeking."""
        self._client.connect_async("127.0.0.1", self._port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def offer(self) -> bool:
        """Publish one more submission, unless there is no connection or the window is full."""
        with self._lock:
            if len(self._under_way) >= WINDOW or not self._client.is_connected():
                return False
        payload = self._place.payloads.next()
        kind = "images" if payload.is_picture else "readings"
        suffix = f"/n-{payload.number}" if self._with_ids else ""
        # Not under our lock: paho may call back from within. So the answer may be here before the packet id.
        info = self._client.publish(f"devices/{self._name}/{kind}{suffix}", payload.data, qos=1)
        with self._lock:
            self._under_way[info.mid] = payload
            early = info.mid in self._settled_early
        if early:
            self._published(None, None, info.mid)
        return True

    @property
    def under_way(self) -> int:
        """How many submissions are not acknowledged to the device."""
        with self._lock:
            return len(self._under_way)

    def close(self) -> None:
        end_device(self._client)

    def _published(self, _client: Any, _userdata: Any, packet_id: int) -> None:
        with self._lock:
            payload = self._under_way.pop(packet_id, None)
            if payload is None:
                self._settled_early.add(packet_id)
                return
            self._settled_early.discard(packet_id)
        self._on_acknowledged(payload)

    def _disconnected(self, _client: Any, _userdata: Any, reason: int) -> None:
        if reason and self.cuts_count:
            self._place.ledger.cut(self.under_way)


class _MqttLoad:
    """A thread that lets devices offer while it is told to. Both MQTT ways have one."""

    def __init__(self, devices: list[MqttDevice], may_offer: Callable[[], bool]) -> None:
        self._devices = devices
        self._may_offer = may_offer
        self._running = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt-load")

    def start(self) -> None:
        for device in self._devices:
            device.start()
        self._thread.start()

    def resume(self) -> None:
        self._running.set()

    def pause(self) -> None:
        self._running.clear()

    def settled(self) -> bool:
        return all(device.under_way == 0 for device in self._devices)

    def close(self) -> None:
        self._ended.set()
        self._running.set()
        self._thread.join()
        for device in self._devices:
            device.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._running.wait()
            if self._may_offer():
                for device in self._devices:
                    device.offer()
            self._ended.wait(THINK_S)


class MqttListenerDevices:
    """Devices that connect to the gateway itself. Implements ``ways.Way``."""

    def __init__(self, place: Place) -> None:
        self._port = free_port()
        self._load = _MqttLoad(
            [
                MqttDevice(
                    place,
                    name=f"cam-{number}",
                    with_ids=bool(number % 2),
                    port=self._port,
                    on_acknowledged=lambda payload: place.ledger.acknowledge(payload.sha256),
                )
                for number in range(DEVICES)
            ],
            may_offer=lambda: True,
        )
        self._load.start()

    def environment(self) -> Mapping[str, str]:
        return {"GATEWAY_MQTT__LISTEN": f"127.0.0.1:{self._port}"}

    def attach(self, gateway: GatewayProcess) -> None:
        """Nothing to do: the port is the same in every life."""

    def detach(self) -> None:
        """Nothing to do: devices notice by themselves."""

    def resume(self) -> None:
        self._load.resume()

    def pause(self) -> None:
        self._load.pause()

    def settled(self) -> bool:
        return self._load.settled()

    def close(self) -> None:
        self._load.close()


class MqttBrokerDevices:
    """Devices at a mosquitto that the gateway subscribes to, through a witness. Implements ``ways.Way``.

    The broker's acknowledgement to a device is a promise, the gateway's to the broker the acknowledgement.
    """

    def __init__(self, place: Place) -> None:
        self._ledger = place.ledger
        self._stack = contextlib.ExitStack()
        self._broker = self._stack.enter_context(Mosquitto(place.folder / "broker"))
        self._witness = self._stack.enter_context(MqttWitness(self._broker.port))
        self._witness.on_acknowledged = place.ledger.acknowledge
        self._witness.on_cut = place.ledger.cut
        devices = [
            MqttDevice(
                place,
                name=f"cam-{number}",
                with_ids=bool(number % 2),
                port=self._broker.port,
                on_acknowledged=lambda payload: place.ledger.promise(payload.sha256),
            )
            for number in range(DEVICES)
        ]
        for device in devices:
            device.cuts_count = False  # it is the gateway that is cut off, not the device
        self._load = _MqttLoad(devices, may_offer=self._not_too_far_ahead)
        self._load.start()
        self._stack.callback(self._load.close)

    def environment(self) -> Mapping[str, str]:
        return {"GATEWAY_MQTT__URL": self._witness.url}

    def attach(self, gateway: GatewayProcess) -> None:
        """Nothing to do: the gateway comes to the broker."""

    def detach(self) -> None:
        """Nothing to do: devices notice by themselves."""

    def resume(self) -> None:
        self._load.resume()

    def pause(self) -> None:
        self._load.pause()

    def settled(self) -> bool:
        return self._load.settled() and self._ledger.due() <= self._ledger.snapshot()

    def close(self) -> None:
        self._stack.close()

    def _not_too_far_ahead(self) -> bool:
        return len(self._ledger.promised) - len(self._ledger.acknowledged) < AHEAD_MAX
