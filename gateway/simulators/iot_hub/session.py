"""One device's MQTT session: credentials, topics, acknowledgements, and the faults asked for.

Where IoT Hub closes the connection on a protocol offence, so does this: :class:`ConnectionRefused` says why.
"""

import asyncio
import json
import time
from typing import Protocol

from gateway.simulators.iot_hub import mqtt_wire, sas, stream, topics
from gateway.simulators.iot_hub.devices import CloudToDevice, Device
from gateway.simulators.iot_hub.faults import Faults
from gateway.simulators.iot_hub.record import ReceivedMessage, Record, now

# IoT Hub's limit for a device-to-cloud message.
MESSAGE_BYTES_MAX = 256 * 1024
_CONNECT_TIMEOUT_S = 60.0


class ConnectionRefused(Exception):
    """The hub closes this connection; the text says why."""


class HubState(Protocol):
    """What a session needs of the hub it belongs to."""

    hostname: str
    devices: dict[str, Device]
    record: Record
    faults: Faults

    def admit(self, session: "DeviceSession") -> None:
        """Register a session; an older one of the same client is dropped, as IoT Hub does."""


class DeviceSession:
    """Serves one connection until it ends. ``common_name`` is that of a verified client certificate."""

    def __init__(self, *, hub: HubState, number: int, writer: asyncio.StreamWriter, common_name: str | None) -> None:
        self.client_id = ""
        self.number = number
        self._hub = hub
        self._writer = writer
        self._common_name = common_name
        self._stream: stream.ByteStream | None = None
        self._filters: set[str] = set()
        self._delivered: set[int] = set()
        self._received = 0
        self._acknowledged = 0

    @property
    def faults(self) -> Faults:
        """The switches as they are now."""
        return self._hub.faults

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Return when the device has left. Raises ConnectionRefused, MalformedPacket or MalformedFrame."""
        decoder = mqtt_wire.PacketDecoder()
        read_timeout_s: float | None = _CONNECT_TIMEOUT_S
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            self._stream = await stream.open_stream(reader, self._writer)
        while self._stream is not None:
            async with asyncio.timeout(read_timeout_s):
                data = await self._stream.read()
            await self._stall_if_half_open()
            if not data:
                return
            self._hub.record.capture(data)
            for packet in decoder.feed(data):
                await self._handle(packet)
                if isinstance(packet, mqtt_wire.Connect):
                    # MQTT 3.1.1 section 3.1.2.10: half as much again as the keep alive.
                    read_timeout_s = packet.keep_alive_s * 1.5 or None
            await self._writer.drain()

    def drop(self) -> None:
        """Close the connection from the hub's side."""
        self._writer.transport.abort()

    def deliver_waiting(self) -> None:
        """Send what waits for the device, if it has asked for it."""
        if any(topic_filter.endswith(("/messages/devicebound/#", "/inputs/#")) for topic_filter in self._filters):
            for message in self._device.waiting:
                if message.packet_id not in self._delivered:
                    self._delivered.add(message.packet_id)
                    self._deliver(message)

    @property
    def _device(self) -> Device:
        return self._hub.devices[self.client_id]

    def _write(self, data: bytes) -> None:
        assert self._stream is not None, "nothing is written before the peer has spoken"
        if not self._writer.is_closing():
            self._stream.write(data)

    def _deliver(self, message: CloudToDevice) -> None:
        topic = topics.cloud_to_device(self.client_id, message.properties)
        self._write(
            mqtt_wire.publish(mqtt_wire.Publish(topic=topic, payload=message.body, qos=1, packet_id=message.packet_id))
        )

    async def _stall_if_half_open(self) -> None:
        if self.faults.half_open:
            self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # every asyncio TLS transport has it
            await asyncio.Event().wait()

    async def _handle(self, packet: mqtt_wire.Packet) -> None:
        if not self.client_id and not isinstance(packet, mqtt_wire.Connect):
            raise ConnectionRefused("the first packet must be CONNECT")
        match packet:
            case mqtt_wire.Connect():
                await self._connect(packet)
            case mqtt_wire.Publish():
                self._publication(packet)
            case mqtt_wire.Subscribe():
                await self._subscribe(packet)
            case mqtt_wire.Unsubscribe():
                self._filters.difference_update(packet.filters)
                self._write(mqtt_wire.unsuback(packet.packet_id))
            case mqtt_wire.Puback():
                self._device.waiting[:] = [m for m in self._device.waiting if m.packet_id != packet.packet_id]
            case mqtt_wire.Ping():
                self._write(mqtt_wire.pingresp())
            case mqtt_wire.Disconnect():
                raise ConnectionRefused("the device said goodbye")

    async def _connect(self, packet: mqtt_wire.Connect) -> None:
        if self.faults.hang_connack:
            await asyncio.Event().wait()
        refusal = self._credentials_refusal(packet)
        code = self.faults.reject_connect or (mqtt_wire.CONNACK_NOT_AUTHORIZED if refusal else 0)
        self._write(mqtt_wire.connack(code))
        if code:
            await self._writer.drain()
            self._writer.close()
            raise ConnectionRefused(refusal or f"CONNACK {code} was asked for")
        self.client_id = packet.client_id
        self._hub.admit(self)

    def _credentials_refusal(self, packet: mqtt_wire.Connect) -> str | None:
        device = self._hub.devices.get(packet.client_id)
        if device is None:
            return f"no device {packet.client_id!r}"
        if not (packet.username or "").startswith(f"{self._hub.hostname}/{packet.client_id}/"):
            return "the user name must be {host}/{client id}/?api-version=..."
        if packet.password is None:
            matches = self._common_name == packet.client_id
            return None if matches else "no password, and no client certificate with this device's name"
        resource = f"{self._hub.hostname}/{topics.resource_path(packet.client_id)}"
        return sas.refusal(
            packet.password, resource=resource, keys=device.keys, now=time.time() + self.faults.clock_ahead_s
        )

    async def _subscribe(self, packet: mqtt_wire.Subscribe) -> None:
        if self.faults.hang_suback:
            await asyncio.Event().wait()
        if foreign := [f for f in packet.filters if not topics.may_subscribe(self.client_id, f)]:
            raise ConnectionRefused(f"IoT Hub has no topic {foreign[0]!r} for {self.client_id}")
        self._filters.update(packet.filters)
        self._write(mqtt_wire.suback(packet.packet_id, tuple(1 for _ in packet.filters)))
        self.deliver_waiting()

    def _publication(self, packet: mqtt_wire.Publish) -> None:
        match topics.understand(self.client_id, packet.topic):
            case topics.Telemetry() as telemetry:
                self._telemetry(packet, telemetry)
                return
            case topics.TwinGet(request_id=request_id):
                self._answer_twin(200, request_id, {"desired": self._device.desired, "reported": self._device.reported})
            case topics.TwinReported(request_id=request_id):
                self._device.reported.update(json.loads(packet.payload or b"{}"))
                self._answer_twin(204, request_id, None)
            case topics.MethodResponse():
                pass
            case None:
                raise ConnectionRefused(f"IoT Hub has no topic {packet.topic!r} for {self.client_id}")
        self._acknowledge(packet.packet_id, None)

    def _answer_twin(self, status: int, request_id: str, body: object) -> None:
        payload = b"" if body is None else json.dumps(body).encode()
        topic = f"$iothub/twin/res/{status}/?$rid={request_id}&$version=1"
        self._write(mqtt_wire.publish(mqtt_wire.Publish(topic=topic, payload=payload)))

    def _telemetry(self, packet: mqtt_wire.Publish, telemetry: topics.Telemetry) -> None:
        message = ReceivedMessage(
            client_id=self.client_id,
            connection=self.number,
            received_at=now(),
            properties=telemetry.properties,
            body=packet.payload,
            duplicate_flag=packet.duplicate,
        )
        self._received += 1
        if refusal := self._message_refusal(message):
            self._hub.record.refused.append(message)
            raise ConnectionRefused(refusal)
        if self.faults.reset_after and self._received >= self.faults.reset_after:
            stream.reset(self._writer)
            raise ConnectionRefused("a reset was asked for")
        self._hub.record.keep(message)
        if self.faults.drop_before_puback:
            raise ConnectionRefused("a drop before PUBACK was asked for")
        self._acknowledge_later(packet.packet_id, message)

    def _message_refusal(self, message: ReceivedMessage) -> str | None:
        faults = self.faults
        if len(message.body) > MESSAGE_BYTES_MAX:
            return f"{len(message.body)} bytes are more than IoT Hub takes"
        if faults.poison_text and faults.poison_text.encode() in message.body:
            return "a poison message"
        if faults.poison_bytes_over and len(message.body) > faults.poison_bytes_over:
            return "a poison message by its size"
        return None

    def _acknowledge_later(self, packet_id: int | None, message: ReceivedMessage) -> None:
        if self.faults.no_puback:
            return
        if self.faults.puback_delay_s:
            # The same delay for each keeps the order, and many may be under way, as over a long line.
            asyncio.get_running_loop().call_later(self.faults.puback_delay_s, self._acknowledge, packet_id, message)
            return
        self._acknowledge(packet_id, message)
        if self.faults.drop_after and self._acknowledged >= self.faults.drop_after:
            self._writer.close()
            raise ConnectionRefused("a drop after so many messages was asked for")

    def _acknowledge(self, packet_id: int | None, message: ReceivedMessage | None) -> None:
        if packet_id is not None and not self._writer.is_closing():
            self._write(mqtt_wire.puback(packet_id))
        if message is not None:
            message.acknowledged = not self._writer.is_closing()
            self._acknowledged += 1
