"""A stand-in for the Device Provisioning Service (DPS), in front of hub stand-ins.

Source: "Communicate with DPS using the MQTT protocol", and what azure-iot-device 2.14 sends. It knows DPS's two topics,
checks the SAS token (individual key, or derived from a group's) or the certificate that TLS has verified, registers the
device with a hub, and says which. Its proxy leads to DPS and to every hub: the SDK's ports are fixed.
"""

import asyncio
import itertools
import json
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.cloud.provisioning import derived_key
from gateway.simulators.iot_hub import mqtt_wire, sas, stream, topics
from gateway.simulators.iot_hub.certificates import CertificateAuthority, CertificateFiles
from gateway.simulators.iot_hub.connect_proxy import ConnectProxy
from gateway.simulators.iot_hub.devices import Device, new_key
from gateway.simulators.iot_hub.hub import HubOptions, IotHub, common_name

DPS_HOST = "global.azure-devices-provisioning.net"
_REGISTER = "$dps/registrations/PUT/iotdps-register/"
_STATUS = "$dps/registrations/GET/iotdps-get-operationstatus/"
_ANSWERS = "$dps/registrations/res/#"
_READ_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Who may register. ``registration_id`` empty: a group. ``key`` empty: by certificate."""

    registration_id: str = ""
    device_id: str = ""  # empty: the registration id
    key: str = field(default="", repr=False)
    is_enabled: bool = True

    def key_of(self, registration_id: str) -> str:
        """Return the key that this device must have."""
        return self.key if self.registration_id or not self.key else derived_key(self.key, registration_id)


@dataclass(slots=True, kw_only=True)
class ProvisioningFaults:
    """All off by default; a change counts from the next packet on."""

    polls: int = 0  # how often a device must ask again before it is told; DPS itself: at least once
    is_silent: bool = False  # accept everything, answer nothing
    throttled: int = 0  # answer the next so many registrations with 429


class ProvisioningService:
    """An async context manager: entered, DPS and its hubs serve; left, nothing of them remains."""

    def __init__(
        self, directory: Path, *, hub_names: Sequence[str] = ("hub-a.localhost",), id_scope: str = "0ne1"
    ) -> None:
        self.id_scope = id_scope
        self.hubs = {name: IotHub(HubOptions(directory=directory, device_ids=(), hostname=name)) for name in hub_names}
        self.assigns_to = hub_names[0]
        self.enrolments: list[Enrolment] = []
        self.faults = ProvisioningFaults()
        self.connections_total = 0
        self.registrations: list[str] = []  # who was assigned, in order
        self.last_refusal = ""
        self._authority = CertificateAuthority(directory)
        self._tls: ssl.SSLContext = self._authority.server_context(DPS_HOST)
        self._operations = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.proxy: ConnectProxy | None = None

    @property
    def ca_file(self) -> Path:
        return self._authority.ca_file

    @property
    def proxy_url(self) -> str:
        """Return what cloud.proxy says."""
        assert self.proxy is not None, "entered"
        return f"http://127.0.0.1:{self.proxy.port}"

    def environment(self, registration_id: str, key_file: Path) -> Mapping[str, str]:
        """Return the variables that make a gateway ask here."""
        asked = {"ID_SCOPE": self.id_scope, "REGISTRATION_ID": registration_id, "KEY_FILE": str(key_file)}
        return {
            "GATEWAY_CLOUD__CA_FILE": str(self.ca_file),
            "GATEWAY_CLOUD__PROXY": self.proxy_url,
            **{f"GATEWAY_CLOUD__PROVISIONING__{name}": value for name, value in asked.items()},
        }

    def issue_certificate(self, registration_id: str) -> CertificateFiles:
        """Return an X.509 client certificate of this registration id."""
        return self._authority.issue_device(registration_id)

    def enrol(self, enrolment: Enrolment) -> Enrolment:
        """Add an individual or a group enrolment; an empty key of one with a key is made."""
        self.enrolments.append(enrolment)
        return enrolment

    def disable(self, enrolment: Enrolment) -> None:
        """Let nobody register by it any more."""
        self.enrolments[self.enrolments.index(enrolment)] = replace(enrolment, is_enabled=False)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        for hub in self.hubs.values():
            await hub.__aenter__()
        ports = {DPS_HOST: port} | {name: hub.port for name, hub in self.hubs.items()}
        targets = {(name, fixed): real for name, real in ports.items() for fixed in (8883, 443)}
        self.proxy = ConnectProxy(target_host="127.0.0.1", targets=targets)
        await self.proxy.start("127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        assert self.proxy is not None
        await self.proxy.stop()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for hub in self.hubs.values():
            await hub.__aexit__(kind, error, traceback)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections_total += 1
        try:
            await _Registration(self, writer).serve(reader)
        except (OSError, TimeoutError, mqtt_wire.MalformedPacket) as error:
            self.last_refusal = f"{type(error).__name__}: {error}"
        except asyncio.CancelledError:
            pass  # raised on, the stream server of Python 3.11 would log it as an unhandled error
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    def enrolment_of(
        self, registration_id: str, *, password: str | None, certificate_name: str | None
    ) -> Enrolment | None:
        """Return by which enrolment this device may register; None: by none, and ``last_refusal`` says why."""
        resource = f"{self.id_scope}/registrations/{registration_id}"
        self.last_refusal = f"no enrolment for {registration_id!r}"
        for enrolment in self.enrolments:
            if enrolment.registration_id not in ("", registration_id):
                continue
            if not enrolment.key and password is None and certificate_name == registration_id:
                return enrolment
            if enrolment.key and password is not None:
                key = enrolment.key_of(registration_id)
                refusal = sas.refusal(password, resource=resource, keys=(key,), now=time.time())
                if refusal is None:
                    return enrolment
                self.last_refusal = refusal
        return None

    def assign(self, enrolment: Enrolment, registration_id: str) -> tuple[str, str]:
        """Register the device with the hub of the day; return hub and device id."""
        device_id = enrolment.device_id or registration_id
        key = enrolment.key_of(registration_id) or new_key()
        self.hubs[self.assigns_to].register(Device(client_id=device_id, primary_key=key, secondary_key=new_key()))
        self.registrations.append(registration_id)
        return self.assigns_to, device_id

    def new_operation(self) -> str:
        """Return an operation id."""
        return f"4.{next(self._operations):08x}"


class _Registration:
    """One device's connection to DPS."""

    def __init__(self, service: ProvisioningService, writer: asyncio.StreamWriter) -> None:
        self._service = service
        self._writer = writer
        self._stream: stream.ByteStream | None = None
        self._registration_id = ""
        self._enrolment: Enrolment | None = None
        self._operation = ""
        self._polls = 0

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Return when the device has left or has said something that DPS does not know."""
        decoder = mqtt_wire.PacketDecoder()
        async with asyncio.timeout(_READ_TIMEOUT_S):
            self._stream = await stream.open_stream(reader, self._writer)
        while self._stream is not None:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                data = await self._stream.read()
            if not data:
                return
            for packet in decoder.feed(data):
                if not self._handle(packet):
                    await self._writer.drain()
                    return
            await self._writer.drain()

    def _handle(self, packet: mqtt_wire.Packet) -> bool:
        """Return whether to go on."""
        match packet:
            case mqtt_wire.Connect():
                return self._connect(packet)
            case mqtt_wire.Subscribe(packet_id=packet_id, filters=filters) if filters == (_ANSWERS,):
                self._write(mqtt_wire.suback(packet_id, (1,)))
            case mqtt_wire.Publish() if self._enrolment is not None:
                return self._request(packet)
            case mqtt_wire.Ping():
                self._write(mqtt_wire.pingresp())
            case _:
                return False
        return True

    def _connect(self, packet: mqtt_wire.Connect) -> bool:
        name = common_name(self._writer.transport)
        wanted = f"{self._service.id_scope}/registrations/{packet.client_id}/api-version="
        if (packet.username or "").startswith(wanted):
            self._enrolment = self._service.enrolment_of(
                packet.client_id, password=packet.password, certificate_name=name
            )
        self._registration_id = packet.client_id
        self._write(mqtt_wire.connack(0 if self._enrolment else mqtt_wire.CONNACK_NOT_AUTHORIZED))
        return self._enrolment is not None

    def _request(self, packet: mqtt_wire.Publish) -> bool:
        if packet.packet_id is not None:
            self._write(mqtt_wire.puback(packet.packet_id))
        if self._service.faults.is_silent:
            return True
        bag = topics.property_bag(packet.topic.partition("?")[2])
        if packet.topic.startswith(_REGISTER):
            self._register(bag)
        elif packet.topic.startswith(_STATUS) and bag.get("operationId") == self._operation:
            self._tell(bag)
        else:
            return False
        return True

    def _register(self, bag: Mapping[str, str]) -> None:
        faults = self._service.faults
        assert self._enrolment is not None
        if faults.throttled > 0:
            faults.throttled -= 1
            self._answer(429, bag, {"errorCode": 429001, "message": "Operations are being throttled for this tenant."})
        elif not self._enrolment.is_enabled:
            self._answer(401, bag, {"errorCode": 401002, "message": "Unauthorized"})
        else:
            self._operation, self._polls = self._service.new_operation(), faults.polls
            self._tell(bag)

    def _tell(self, bag: Mapping[str, str]) -> None:
        assert self._enrolment is not None
        if self._polls > 0:
            self._polls -= 1
            self._answer(202, bag, {"operationId": self._operation, "status": "assigning"})
            return
        hub, device_id = self._service.assign(self._enrolment, self._registration_id)
        state = {
            "registrationId": self._registration_id,
            "assignedHub": hub,
            "deviceId": device_id,
            "status": "assigned",
            "substatus": "initialAssignment",
        }
        self._answer(200, bag, {"operationId": self._operation, "status": "assigned", "registrationState": state})

    def _answer(self, status: int, bag: Mapping[str, str], body: object) -> None:
        retry = "&retry-after=1" if status in (202, 429) else ""
        topic = f"$dps/registrations/res/{status}/?$rid={bag.get('$rid', '')}{retry}"
        self._write(mqtt_wire.publish(mqtt_wire.Publish(topic=topic, payload=json.dumps(body).encode())))

    def _write(self, data: bytes) -> None:
        assert self._stream is not None, "nothing is written before the peer has spoken"
        if not self._writer.is_closing():
            self._stream.write(data)
