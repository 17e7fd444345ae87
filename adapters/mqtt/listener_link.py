"""One device's socket: moves bytes between asyncio and the pure connection, and carries out what that decides.

Reads only while the connection wants data, nothing is held, and the device reads what it is sent. Memory of all links:
what the budget granted, and what ``listener_holdings`` allows for everything else.
"""

import asyncio
from dataclasses import dataclass, field

from adapters.mqtt.codec_packets import Publish
from adapters.mqtt.codec_reasons import ReasonCode
from adapters.mqtt.connection import Connection, State
from adapters.mqtt.connection_events import (
    ConnectionEnded,
    ConnectionLimits,
    ConnectRequested,
    Event,
    MessageDropped,
    PublishAnnounced,
    PublishReceived,
    PublishRepeated,
    PublishTooLarge,
    SubscriptionsChanged,
    Ticket,
    Verdict,
)
from adapters.mqtt.contract import Inbound
from adapters.mqtt.listener_budget import PUBLISH_OVERHEAD_BYTES, ByteBudget
from adapters.mqtt.listener_deadlines import Deadlines
from adapters.mqtt.listener_holdings import Holdings
from adapters.mqtt.listener_publishes import PublishDesk
from adapters.mqtt.listener_registry import Registry
from adapters.mqtt.listener_wire import Wire
from adapters.mqtt.refusals import packet_too_large
from adapters.mqtt.sessions import Message, Session
from gateway.holders import Holders
from gateway.settings.section import Network
from gateway.tls.identity import device_of_certificate

# Small while nobody knows what comes, so that thousands of silent or stuck connections stay cheap.
READ_BYTES = 16 * 1024
# While a granted PUBLISH arrives: fewer calls for a picture.
READ_GRANTED_BYTES = 128 * 1024
# While others hold much: beyond the granted, a small packet at a time.
READ_TIGHT_BYTES = 1024
# How long we try to send our last words.
LINGER_S = 5.0


@dataclass(kw_only=True)
class LinkParts:
    """What all links of one listener share."""

    registry: Registry
    desk: PublishDesk
    budget: ByteBudget
    limits: ConnectionLimits
    connect_timeout_s: float
    connections_max: int
    allowed_networks: tuple[Network, ...]
    holdings: Holdings
    open_links: "set[DeviceLink]" = field(default_factory=set)
    holders: "Holders[DeviceLink]" = field(default_factory=Holders)
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(READ_GRANTED_BYTES)))
    stopping: bool = False


class DeviceLink(asyncio.BufferedProtocol):
    """Implements listener_publishes.Publisher, listener_registry.Link and gateway.tls.door.Link."""

    __slots__ = (
        "_admission",
        "_certified",
        "_connection",
        "_deadlines",
        "_ended_at",
        "_granted_cost",
        "_held",
        "_is_begun",
        "_left_politely",
        "_loop",
        "_parts",
        "_wake_scheduled",
        "_wire",
    )

    def __init__(self, parts: LinkParts) -> None:
        self._parts = parts
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(limits=parts.limits, sessions=parts.registry.sessions)
        self._wire = Wire()
        self._deadlines = Deadlines(now=self._loop.time(), connect_timeout_s=parts.connect_timeout_s)
        self._held: set[Ticket] = set()
        self._admission: asyncio.Task[None] | None = None
        self._granted_cost = 0
        self._wake_scheduled = False
        self._ended_at: float | None = None
        self._left_politely = False
        self._is_begun = False
        self._certified: str | None = None

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._is_begun = True
        self._wire.attach(transport)
        self._certified = device_of_certificate(transport.get_extra_info("peercert"))
        # With TLS the handshake lies before, and has a deadline of its own.
        self._deadlines = Deadlines(now=self._loop.time(), connect_timeout_s=self._parts.connect_timeout_s)
        obstacle = self._obstacle()
        self._parts.open_links.add(self)
        if obstacle:
            self._connection.lose(obstacle)
            self._advance()

    def _obstacle(self) -> str:
        parts = self._parts
        parts.holders.add(self._wire.peer, self)
        if len(parts.open_links) >= parts.connections_max:
            other = parts.holders.one_to_give_up_for(self._wire.peer)
            if other is None:
                return "too_many_connections"
            other.give_way()
        if parts.allowed_networks and not self._wire.comes_from(parts.allowed_networks):
            return "address_not_allowed"
        return "stopping" if parts.stopping else ""

    def gives_up(self) -> int | None:
        """Return how readily this connection is given up for another address (gateway/holders.py)."""
        if self._held:
            return None
        if self._connection.session is None:
            return 0
        return 2 if self._granted_cost else 1

    def give_way(self) -> None:
        """Leave to another address at once."""
        self._connection.lose("gave_way", "its address held most connections, and all places were taken")
        self._advance()
        self._wire.abort()
        self._parts.holders.discard(self._wire.peer, self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 -- asyncio's; our limit is the smaller
        """Return the buffer that all links share: it is copied from before asyncio reads for another."""
        return self._parts.scratch[: self._read_bytes()]

    def _read_bytes(self) -> int:
        if self._parts.holdings.is_tight:
            return min(self._connection.payload_missing_bytes or READ_TIGHT_BYTES, READ_GRANTED_BYTES)
        return READ_GRANTED_BYTES if self._granted_cost else READ_BYTES

    def buffer_updated(self, nbytes: int) -> None:
        self._deadlines.heard(self._loop.time())
        self._connection.receive_data(self._parts.scratch[:nbytes])
        self._advance()

    def eof_received(self) -> None:
        self._connection.lose("lost", "closed without a DISCONNECT")
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.lose("lost", "" if exc is None else str(exc))
        self._advance()
        self._parts.open_links.discard(self)
        self._parts.holders.discard(self._wire.peer, self)
        self._wire.detach()
        self._note_holdings()

    def pause_writing(self) -> None:
        """Read no more from a device that does not read: its acknowledgements would pile up."""
        self._deadlines.stalled(self._loop.time())
        self._regulate()

    def resume_writing(self) -> None:
        self._deadlines.flows()
        self._schedule()

    # --- the connection's events ---

    def _advance(self) -> None:
        self._wake_scheduled = False
        connection = self._connection
        while connection.state is State.ENDED or not (self._held or self._parts.stopping):
            event = connection.next_event()
            if event is None:
                break
            self._on(event)
        self._flush()
        self._regulate()
        self._note_holdings()

    def _on(self, event: Event) -> None:
        parts = self._parts
        match event:
            case PublishReceived():
                cost, self._granted_cost = self._granted_cost, 0
                parts.desk.submit(self, event.ticket, self._inbound(event.publish), cost)
            case PublishAnnounced():
                self._ask_for(event.frame_bytes + PUBLISH_OVERHEAD_BYTES)
            case PublishRepeated():
                self._give_back()
            case ConnectRequested():
                admission = parts.registry.admit(self, event.connect)
                self._admission = self._loop.create_task(admission, name="mqtt-admission")
                self._admission.add_done_callback(self._admitted)
            case PublishTooLarge():
                error = packet_too_large(event.payload_bytes, packet_bytes_max=parts.limits.packet_bytes_max)
                parts.desk.refuse(self, event.ticket, self._inbound(event.publish), error, event.payload_bytes)
            case SubscriptionsChanged():
                parts.registry.subscriptions_changed(self._session)
            case MessageDropped():
                parts.registry.count_reply("dropped")
            case ConnectionEnded():
                self._end(event)

    def _inbound(self, publish: Publish) -> Inbound:
        session = self._session
        return Inbound(
            client_id=session.key.client_id,
            session=session.life,
            device_id=session.key.device_id,
            topic=publish.topic,
            payload=publish.payload,
            qos=publish.qos,
            dup=publish.dup,
            retain=publish.retain,
            packet_id=publish.packet_id,
            user_properties=dict(publish.properties.user),
        )

    @property
    def _session(self) -> Session:
        session = self._connection.session
        assert session is not None, "not connected"
        return session

    def _ask_for(self, cost: int) -> None:
        self._granted_cost = cost
        if self._parts.budget.request(cost, self._granted):
            self._connection.grant()

    def _granted(self) -> None:
        self._connection.grant()
        self._schedule()

    def _give_back(self) -> None:
        cost, self._granted_cost = self._granted_cost, 0
        if cost:
            self._parts.budget.release(cost)

    def _admitted(self, task: asyncio.Task[None]) -> None:
        self._admission = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._parts.registry.report_error("mqtt_admission_failed", error)
            self.give_up(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, "internal_error", "an error of the gateway")

    def _end(self, ended: ConnectionEnded) -> None:
        self._ended_at = self._loop.time()
        self._left_politely = ended.reason == "client_disconnected"
        if self._admission is not None and self._admission is not asyncio.current_task():
            self._admission.cancel()
        if self._granted_cost and not self._parts.budget.withdraw(self._granted):
            self._give_back()
        self._granted_cost = 0
        self._held.clear()
        registry, session, connect = self._parts.registry, self._connection.session, self._connection.connect
        if session is None:
            if connect is not None:
                registry.abandon(self)
        else:
            registry.leave(self, session, ended)
        registry.note_end(ended, peer=self._wire.peer, client_id=connect.client_id if connect is not None else "")
        self._flush()
        self._wire.close()

    # --- decisions of others ---

    @property
    def peer(self) -> str:
        return self._wire.peer

    @property
    def certified(self) -> str | None:
        return self._certified

    @property
    def is_begun(self) -> bool:
        return self._is_begun

    @property
    def is_gone(self) -> bool:
        return self._connection.state is State.ENDED

    @property
    def sends_again(self) -> bool:
        # A polite DISCONNECT right after a PUBLISH (mosquitto_pub at QoS 0, thrifty firmware) says: that was all.
        return self.is_gone and not self._left_politely

    @property
    def is_open(self) -> bool:
        return self._connection.state is State.OPEN

    @property
    def patience_s(self) -> float:
        connect = self._connection.connect
        return (connect.keep_alive_s if connect is not None else 0) or float("inf")

    def settle(self, ticket: Ticket, verdict: Verdict) -> None:
        self._connection.settle(ticket, verdict)
        self._schedule()

    def hold(self, ticket: Ticket) -> None:
        if not self.is_gone:
            self._held.add(ticket)
            self._regulate()

    def resume(self, ticket: Ticket) -> None:
        if ticket in self._held:
            self._held.discard(ticket)
            self._deadlines.heard(self._loop.time())
            self._schedule()

    def give_up(self, code: ReasonCode, reason: str, detail: str) -> None:
        self._connection.close(code, reason, detail)
        self._advance()

    def accept(self, session: Session, *, present: bool, assigned_client_id: str | None) -> None:
        self._connection.accept(session, present=present, assigned_client_id=assigned_client_id)
        self._deadlines.heard(self._loop.time())
        self._advance()

    def refuse(self, code: ReasonCode, reason: str) -> None:
        self._connection.refuse(code, reason)
        self._advance()

    def take_over(self) -> None:
        # The device itself is back, so its will is not told.
        self._connection.close(ReasonCode.SESSION_TAKEN_OVER, "taken_over", tell_will=False)
        self._advance()

    def publish(self, message: Message) -> int:
        dropped = self._connection.publish(message)
        self._schedule()
        return dropped

    def stop_reading(self) -> None:
        """Take no more publishes: the listener stops."""
        self._regulate()

    def say_goodbye(self) -> None:
        """End because the listener stops."""
        self._connection.close(ReasonCode.SERVER_SHUTTING_DOWN, "stopping", tell_will=False)
        self._advance()

    def cut(self) -> None:
        """End because all connections together hold too much, and this one most."""
        self._connection.lose("too_much_held", "unread answers, or packets without an end, and too many of them")
        self._wire.abort()
        self._schedule()

    def abort(self) -> None:
        """Cut the connection, whatever is still to be sent."""
        self._wire.abort()

    # --- time ---

    def check(self, now: float) -> None:
        """End the connection if the device is late. To be called twice a second or so."""
        self._note_holdings()
        if self._ended_at is not None:
            if now - self._ended_at > LINGER_S:
                self.abort()
            return
        late = self._deadlines.late(self._connection, now, reading=self._wire.reading)
        if late is not None:
            self._connection.close(*late)
            self._advance()

    # --- reading and writing ---

    def _schedule(self) -> None:
        """Go on soon: what is settled in the same turn of the loop leaves in one packet."""
        if not self._wake_scheduled:
            self._wake_scheduled = True
            self._loop.call_soon(self._advance)

    def _flush(self) -> None:
        if not self._wire.write(self._connection.data_to_send()):
            self._connection.lose("slow_reader", "it does not read what it is sent")
            self._schedule()

    def _regulate(self) -> None:
        may_read = not self._held and not self._deadlines.is_stalled and not self._parts.stopping
        if self._wire.read_on(wanted=may_read and self._connection.wants_data):
            self._deadlines.heard(self._loop.time())

    def _note_holdings(self) -> None:
        self._parts.holdings.note(self, self._connection.buffered_bytes + self._wire.unread_bytes)
