"""The stand-in put together: listener, sessions, proxy and view, started and stopped as one."""

import asyncio
import contextlib
import itertools
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.simulators.iot_hub import mqtt_wire, websocket_wire
from gateway.simulators.iot_hub.certificates import CertificateAuthority, CertificateFiles
from gateway.simulators.iot_hub.connect_proxy import ConnectProxy
from gateway.simulators.iot_hub.devices import CLOUD_TO_DEVICE_MAX, CloudToDevice, Device, load_devices
from gateway.simulators.iot_hub.faults import Faults
from gateway.simulators.iot_hub.http_view import HttpView
from gateway.simulators.iot_hub.record import Record
from gateway.simulators.iot_hub.session import ConnectionRefused, DeviceSession

_TLS_HANDSHAKE_TIMEOUT_S = 20.0
_GOODBYE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOptions:
    """How to start the stand-in. Port 0 means any free one."""

    directory: Path  # the CA, the certificates and the device keys; kept between runs
    device_ids: tuple[str, ...] = ("gw1",)  # "device" or "device/module"
    hostname: str = "iot-hub.localhost"
    certificate_name: str = ""  # another than hostname: edgeHub's, which answers for the hub
    listen_host: str = "127.0.0.1"
    port: int = 0
    proxy_port: int = 0
    proxy_credentials: str | None = None  # "user:password"
    view_port: int = 0
    record_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDescription:
    """Where the stand-in is and how to reach it. Holds secrets, though only of a stand-in."""

    hostname: str
    connection_strings: Mapping[str, str]
    ca_file: Path
    proxy: str
    view: str
    port: int

    def environment(self, device_id: str) -> dict[str, str]:
        """Return the environment variables that point a gateway here."""
        return {
            "GATEWAY_CLOUD__CONNECTION_STRING": self.connection_strings[device_id],
            "GATEWAY_CLOUD__CA_FILE": str(self.ca_file),
            "GATEWAY_CLOUD__PROXY": self.proxy,
        }

    def text(self) -> str:
        """Return what a newcomer pastes into a shell."""
        lines = [f"IoT Hub stand-in {self.hostname}, TLS on port {self.port}.", f"What it received: {self.view}", ""]
        for device_id in self.connection_strings:
            lines.append(f"A gateway as device {device_id}:")
            lines += [f"  export {name}='{value}'" for name, value in self.environment(device_id).items()]
        return "\n".join(lines)


class IotHub:
    """An async context manager: entered, it serves; left, nothing of it remains."""

    def __init__(self, options: HubOptions) -> None:
        self._options = options
        self._authority = CertificateAuthority(options.directory)
        self._tls = self._authority.server_context(options.certificate_name or options.hostname)
        self.hostname = options.hostname
        self.devices: dict[str, Device] = load_devices(options.directory, options.device_ids)
        self.record = Record(options.record_file)
        self.faults = Faults()
        self.connections_total = 0
        self.last_refusal = ""
        self._numbers = itertools.count(1)
        self._packet_ids = itertools.cycle(range(1, 65536))
        self._sessions: dict[str, DeviceSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = socket.create_server((options.listen_host, options.port))
        self._listener.settimeout(0)
        self.port: int = self._listener.getsockname()[1]
        self.proxy = ConnectProxy(
            target_host=options.listen_host,
            targets={(options.hostname, 8883): self.port, (options.hostname, 443): self.port},
            credentials=options.proxy_credentials,
        )
        self.view = HttpView(self)

    async def __aenter__(self) -> Self:
        await self.proxy.start(self._options.listen_host, self._options.proxy_port)
        await self.view.start(self._options.listen_host, self._options.view_port)
        self._spawn(self._accept(), "hub-accept")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.view.stop()
        await self.proxy.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()
        self.record.close()

    def describe(self) -> HubDescription:
        """Return where it is; call it when entered."""
        options = self._options
        user = f"{options.proxy_credentials}@" if options.proxy_credentials else ""
        return HubDescription(
            hostname=self.hostname,
            connection_strings={client_id: self.connection_string(client_id) for client_id in self.devices},
            ca_file=self._authority.ca_file,
            proxy=f"http://{user}{options.listen_host}:{self.proxy.port}",
            view=f"http://{options.listen_host}:{self.view.port}/",
            port=self.port,
        )

    def connection_string(self, client_id: str, *, secondary: bool = False) -> str:
        """Return a device's connection string."""
        device = self.devices[client_id]
        device_id, _, module_id = client_id.partition("/")
        module = f";ModuleId={module_id}" if module_id else ""
        key = device.secondary_key if secondary else device.primary_key
        return f"HostName={self.hostname};DeviceId={device_id}{module};SharedAccessKey={key}"

    def issue_certificate(self, device_id: str) -> CertificateFiles:
        """Return an X.509 client certificate for a device."""
        return self._authority.issue_device(device_id)

    def serve_certificate(self, *, common_name: str, not_before: datetime | None = None) -> None:
        """Serve new connections with another certificate: for another name, or not valid yet."""
        self._tls = self._authority.server_context(common_name, not_before=not_before)

    def register(self, device: Device) -> None:
        """Know a device from now on, as the provisioning service asks for; one of the same name is replaced."""
        self.devices[device.client_id] = device

    def forget(self, device_id: str) -> None:
        """Know a device no more, and drop it."""
        self.devices.pop(device_id, None)
        if session := self._sessions.get(device_id):
            session.drop()

    @property
    def connected(self) -> tuple[str, ...]:
        """The clients with a session."""
        return tuple(self._sessions)

    def admit(self, session: DeviceSession) -> None:
        """Register a session; the older one of the same client is dropped."""
        if older := self._sessions.get(session.client_id):
            older.drop()
        self._sessions[session.client_id] = session

    def kick(self) -> None:
        """Drop every session."""
        for session in list(self._sessions.values()):
            session.drop()

    def send_to_device(self, client_id: str, body: bytes, properties: Mapping[str, str]) -> None:
        """Queue a cloud-to-device message, delivered now or at the next subscription. Raises ValueError."""
        device = self.devices.get(client_id)
        if device is None:
            raise ValueError(f"no device {client_id!r}; known: {sorted(self.devices)}")
        if len(device.waiting) >= CLOUD_TO_DEVICE_MAX:
            raise ValueError(f"IoT Hub keeps at most {CLOUD_TO_DEVICE_MAX} messages for a device")
        device.waiting.append(CloudToDevice(packet_id=next(self._packet_ids), body=body, properties=properties))
        if session := self._sessions.get(client_id):
            session.deliver_waiting()

    def _spawn(self, work: "asyncio._CoroutineLike[None]", name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listener)
            self._spawn(self._serve(connection), "hub-connection")

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            if self.faults.silent_tls:
                await asyncio.Event().wait()
            try:
                await self._serve_tls(connection)
            except (OSError, TimeoutError, mqtt_wire.MalformedPacket, websocket_wire.MalformedFrame) as error:
                self.last_refusal = f"{type(error).__name__}: {error}"
            except ConnectionRefused as refusal:
                self.last_refusal = str(refusal)

    async def _serve_tls(self, connection: socket.socket) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=_TLS_HANDSHAKE_TIMEOUT_S
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self.connections_total += 1
        session = DeviceSession(hub=self, number=next(self._numbers), writer=writer, common_name=common_name(transport))
        try:
            await session.serve(reader)
        except asyncio.CancelledError:
            transport.abort()
            raise
        finally:
            if self._sessions.get(session.client_id) is session:
                del self._sessions[session.client_id]
            await _let_go(writer)


async def _let_go(writer: asyncio.StreamWriter) -> None:
    """Close politely, so that what was written arrives; then for good."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_GOODBYE_TIMEOUT_S):
            await writer.wait_closed()
    writer.transport.abort()


def common_name(transport: asyncio.BaseTransport) -> str | None:
    """Return the common name of a client certificate, verified by TLS already."""
    tls = transport.get_extra_info("ssl_object")
    assert isinstance(tls, ssl.SSLObject)
    subject: Any = (tls.getpeercert() or {}).get("subject", ())
    names: list[str] = [value for part in subject for name, value in part if name == "commonName"]
    return names[0] if names else None


async def run_hub(options: HubOptions, *, announce: Callable[[HubDescription], None]) -> None:
    """Serve until cancelled; ``announce`` is called once, when everything listens."""
    async with IotHub(options) as hub:
        announce(hub.describe())
        await asyncio.Event().wait()
