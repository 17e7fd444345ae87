"""The built-in MQTT listener: devices connect to the gateway itself, and a PUBACK means "on disk".

An endpoint for devices, not a broker: it routes nothing between clients, keeps nothing retained, and lets a device
hear its own results and commands only. Speaks 3.1.1 and 5.0. Its limits: ``mqtt.connections_max`` connections,
``limits.mqtt_buffered_bytes_max`` of publishes over all of them, ``mqtt.in_flight_max`` being worked on.
"""

import asyncio
import contextlib
from pathlib import Path

import structlog

from adapters.mqtt import replies
from adapters.mqtt.connection_events import ConnectionEnded, ConnectionLimits
from adapters.mqtt.contract import Ingest
from adapters.mqtt.listener_budget import ByteBudget
from adapters.mqtt.listener_credentials import BookCredentials, Credentials, OpenCredentials, PasswordFile
from adapters.mqtt.listener_holdings import Holdings
from adapters.mqtt.listener_link import DeviceLink, LinkParts
from adapters.mqtt.listener_publishes import PublishDesk
from adapters.mqtt.listener_registry import Registry
from adapters.mqtt.listener_socket import bind
from adapters.mqtt.listener_status import OnStatus
from adapters.mqtt.sessions_file import FILE_NAME
from adapters.mqtt.topics import commands_topic
from gateway.errors import AdapterUnavailable
from gateway.messages import DeviceCommand
from gateway.ports import Clock, Gatekeeper, Meter, TlsSource
from gateway.settings import LimitsSettings, MqttSettings
from gateway.tls.door import TlsDoor

log = structlog.get_logger(__name__)

# The kernel's queue of connections that wait for accept(): a site's devices all come back at once after a power cut.
BACKLOG = 512
WATCH_EVERY_S = 0.5
# Of the time to stop: for the last acknowledgements and DISCONNECTs to leave.
FAREWELL_S = 0.5


class MqttListener:
    """Implements ports.Adapter. May be started again after a stop or a failure; sessions live on."""

    name = "mqtt_listener"

    def __init__(
        self,
        *,
        settings: MqttSettings,
        limits: LimitsSettings,
        ingest: Ingest,
        meter: Meter,
        clock: Clock,
        credentials: Credentials | None = None,
        gatekeeper: Gatekeeper | None = None,
        sessions_path: Path | None = None,
        on_status: OnStatus | None = None,
        tls: TlsSource | None = None,
    ) -> None:
        self._settings = settings
        self._tls_source = tls
        self._ingest = ingest
        self._meter = meter
        if credentials is None and gatekeeper is not None:
            credentials = BookCredentials(gatekeeper, access=settings.effective_access)
        assert credentials is not None or settings.listen_credentials_file or settings.effective_access == "open"
        self._credentials: Credentials = credentials or OpenCredentials()
        budget = ByteBudget(limits.mqtt_buffered_bytes_max)
        self._registry = Registry(
            sessions_max=settings.sessions_max,
            queued_max=settings.queued_replies_max,
            waiting_bytes_max=limits.mqtt_waiting_bytes_max,
            sessions_path=sessions_path,
            credentials=lambda: self._credentials,
            is_revoked=None if gatekeeper is None else gatekeeper.is_revoked,
            on_status=on_status,
            meter=meter,
            clock=clock,
        )
        self._desk = PublishDesk(
            ingest=ingest,
            in_flight_max=settings.in_flight_max,
            hold_max_s=settings.hold_max_s,
            budget=budget,
            deliver=self._registry.deliver,
            meter=meter,
            clock=clock,
        )
        self._parts = LinkParts(
            registry=self._registry,
            desk=self._desk,
            budget=budget,
            limits=ConnectionLimits(packet_bytes_max=limits.mqtt_packet_bytes_max, window=settings.in_flight_max),
            connect_timeout_s=settings.connect_timeout_s,
            connections_max=settings.connections_max,
            allowed_networks=settings.allowed_networks,
            holdings=Holdings(bytes_max=limits.mqtt_held_bytes_max),
        )
        self._tls: TlsDoor | None = None
        self._server: asyncio.Server | None = None
        self._watch: asyncio.Task[None] | None = None
        self._address = ""

    @property
    def port(self) -> int:
        """The port, the real one once started."""
        assert self._server is not None, "not started"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def held_bytes(self) -> int:
        """Bytes of publishes being read, waiting or worked on."""
        return self._parts.budget.used_bytes

    async def start(self) -> None:
        """Return when devices are served. Raises AdapterUnavailable with the cure."""
        settings = self._settings
        if self._tls_source is not None:
            await asyncio.to_thread(self._tls_source.prepare)
        self._tls = self._tls_door()
        if settings.listen_credentials_file is not None:
            self._credentials = await asyncio.to_thread(PasswordFile.read, settings.listen_credentials_file)
        await self._registry.restore()
        bound = bind(settings.listen, settings.listen_interface)
        self._parts.stopping = False
        self._desk.open()
        try:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._protocol, sock=bound, backlog=BACKLOG)
        except OSError as error:
            bound.close()
            raise AdapterUnavailable(f"mqtt.listen = {settings.listen}: {error}") from error
        host, port = bound.getsockname()[:2]
        self._address = f"{'mqtt' if self._tls is None else 'mqtts'}://{f'[{host}]' if ':' in host else host}:{port}"
        self._watch = asyncio.create_task(self._keep_watch(), name="mqtt-watch")

    async def failed(self) -> None:
        """Raise AdapterUnavailable when the watch breaks; never return. A listening socket does not end by itself."""
        assert self._watch is not None, "failed() before start()"
        await asyncio.wait({self._watch})
        if not self._watch.cancelled() and (error := self._watch.exception()) is not None:
            raise AdapterUnavailable(f"the MQTT listener on {self._settings.listen} broke: {error!r}") from error
        await asyncio.Event().wait()

    async def stop(self, deadline_s: float) -> None:
        """Stop accepting and reading, finish and acknowledge what was taken, take leave, cut what is left."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._parts.stopping = True
        for link in list(self._parts.open_links):
            link.stop_reading()
        await self._desk.stop(max(deadline_s - FAREWELL_S, 0.1))
        for link in list(self._parts.open_links):
            link.say_goodbye()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                while self._parts.open_links:  # noqa: ASYNC110 -- half a second, once in a life; an event costs each link
                    await asyncio.sleep(0.01)
        for link in list(self._parts.open_links):
            link.abort()
        if self._tls is not None:
            self._tls.abort()
        await self._registry.file.flushed()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
        self._report()

    def describe(self) -> str:
        """Return the URL that devices use."""
        return self._address

    def deliver(self, topic: str, payload: bytes, *, qos: int = 1) -> int:
        """Tell the devices that subscribed to ``topic``, now or when they return; return how many there are."""
        return self._registry.deliver(topic, payload, qos)

    async def tell(self, command: DeviceCommand) -> bool:
        """Return whether the device has subscribed to its commands, so that it hears this one now or on its return."""
        topic = commands_topic(command.device_id)
        return self._registry.deliver(topic, replies.command(command), qos=1) > 0

    def _tls_door(self) -> TlsDoor | None:
        settings = self._settings
        if self._tls_source is None:
            return None
        return TlsDoor(
            source=self._tls_source,
            handshake_timeout_s=settings.connect_timeout_s,
            connections_max=settings.connections_max,
            on_end=self._note_end_before_mqtt,
            plain_networks=settings.listen_plain_networks,
            allowed_networks=settings.allowed_networks,
        )

    def _protocol(self) -> asyncio.BaseProtocol:
        link = DeviceLink(self._parts)
        return link if self._tls is None else self._tls.protocol(link)

    def _note_end_before_mqtt(self, reason: str, detail: str, peer: str) -> None:
        self._registry.note_end(ConnectionEnded(reason=reason, detail=detail), peer=peer, client_id="")

    async def _keep_watch(self) -> None:
        """Twice a second: who is late, which sessions are over, what must be told unasked."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            now = loop.time()
            for link in list(self._parts.open_links):
                link.check(now)
            self._registry.expire()
            for topic, payload in self._ingest.notices():
                self._registry.deliver(topic, payload)
            self._report()

    def _report(self) -> None:
        self._meter.level("gateway_mqtt_connections", len(self._parts.open_links), way="listener")


def create_mqtt_listener(
    *,
    settings: MqttSettings,
    limits: LimitsSettings,
    ingest: Ingest,
    meter: Meter,
    clock: Clock,
    credentials: Credentials | None = None,
    gatekeeper: Gatekeeper | None = None,
    data_dir: Path | None = None,
    on_status: OnStatus | None = None,
    tls: TlsSource | None = None,
) -> MqttListener:
    """Return a listener that is not started.

    Who may log in: ``mqtt.listen_credentials_file`` if set, else ``credentials``, else ``gatekeeper``. ``data_dir``
    keeps the sessions across restarts (None: they end with the process, and a redelivery after a crash is then a second
    event); ``on_status`` hears of devices that come and go; with ``tls`` devices speak TLS.
    """
    return MqttListener(
        settings=settings,
        limits=limits,
        ingest=ingest,
        meter=meter,
        clock=clock,
        credentials=credentials,
        gatekeeper=gatekeeper,
        sessions_path=None if data_dir is None else data_dir / FILE_NAME,
        on_status=on_status,
        tls=tls,
    )
