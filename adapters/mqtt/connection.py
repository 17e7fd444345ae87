"""One MQTT connection as a server sees it: bytes in, events out, decisions in, bytes out. No I/O, no clock.

The promises that live here: acknowledgements leave in the order in which the publishes came, and only for publishes
that were settled; a QoS 2 packet id is remembered from its PUBREC to its PUBREL; nothing is read while a decision is
awaited (``wants_data``), so that what one client can make us hold is bounded. Breaking the protocol ends the
connection, with a DISCONNECT that says why where MQTT 5 allows one.
"""

from collections import deque
from enum import Enum
from typing import cast

from adapters.mqtt.codec import FrameHead, MalformedPacket, PacketDecoder, UnsupportedVersion, encode
from adapters.mqtt.codec_packets import (
    V3_1_1,
    V5,
    Acknowledgement,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Unsubscribe,
    Will,
)
from adapters.mqtt.codec_properties import NO_PROPERTIES, Properties
from adapters.mqtt.codec_reasons import CONNACK_RETURN_CODES, ReasonCode
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
from adapters.mqtt.connection_subscriptions import answer_subscriptions
from adapters.mqtt.sessions import SESSION_EXPIRY_MAX_S, Message, Session, Sessions

# MQTT 3.1.1 promises 23 characters; names of vendors' clients have up to 40. It is kept with every session.
CLIENT_ID_CHARS_MAX = 256
# Messages to a device that wait for its PUBACK: enough for results, little for a device with 20 kB of memory.
OUTBOUND_WINDOW = 16
# A reason is for a person at a terminal; a modem's buffer has 256 bytes.
REASON_CHARS_MAX = 200


class State(Enum):
    NEW = "waiting for a CONNECT"
    DECIDING = "a CONNECT waits for its answer"
    OPEN = "connected"
    ENDED = "ended"


class Connection:
    """The state of one connection. Ask for events until None, then send ``data_to_send()``."""

    def __init__(self, *, limits: ConnectionLimits, sessions: Sessions) -> None:
        self.state = State.NEW
        self.connect: Connect | None = None
        self.session: Session | None = None
        self.packets = 0
        self._limits = limits
        self._sessions = sessions
        self._decoder = PacketDecoder(packet_bytes_max=limits.packet_bytes_max)
        self._output: list[bytes] = []
        self._events: deque[Event] = deque()
        self._tickets: deque[Ticket] = deque()
        self._announced = False
        self._granted = False
        self._oversized: PublishTooLarge | None = None
        self._will: Will | None = None

    # --- bytes ---

    def receive_data(self, data: bytes | memoryview) -> None:
        """Take bytes of the stream, split anywhere."""
        if self.state is not State.ENDED:
            self._decoder.feed(data)

    def data_to_send(self) -> bytes:
        """Return what is to be sent, once."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    @property
    def wants_data(self) -> bool:
        """Whether reading on makes sense: no decision is awaited and the window has room."""
        return not self._is_blocked()

    @property
    def is_mid_packet(self) -> bool:
        """Whether a packet has begun and not ended."""
        return self._decoder.buffered_bytes > 0 or self._decoder.discarding or self._granted

    @property
    def buffered_bytes(self) -> int:
        """Bytes that came and are no part of a large granted payload."""
        return self._decoder.buffered_bytes

    @property
    def payload_missing_bytes(self) -> int:
        """Bytes of the granted payload under way that have not come, if it is a large one."""
        return self._decoder.payload_missing_bytes

    @property
    def unacknowledged(self) -> int:
        """Publishes that were received and are not settled in order yet."""
        return len(self._tickets)

    def next_event(self) -> Event | None:
        """Return what happened next, or None when more data or a decision is needed."""
        while not self._events and not self._is_blocked():
            try:
                if not self._advance():
                    break
            except MalformedPacket as error:
                self._end_by(error)
        return self._events.popleft() if self._events else None

    # --- decisions ---

    def accept(self, session: Session, *, present: bool, assigned_client_id: str | None = None) -> None:
        """Let the client in; what its session owes it is sent (again)."""
        assert self.state is State.DECIDING, "no CONNECT waits"
        self.state = State.OPEN
        self.session = session
        connect = self._connect
        self._will = connect.will
        properties = Properties(
            receive_maximum=self._limits.window,
            maximum_packet_bytes=self._limits.packet_bytes_max,
            assigned_client_id=assigned_client_id,
            session_expiry_s=_changed_expiry(connect),
            subscription_ids_available=False,
            shared_available=False,
        )
        self._send(Connack(code=0, session_present=present, properties=properties))
        for publish in session.unacknowledged():
            self._send_publish(publish)
        self._send_queued()

    def refuse(self, code: ReasonCode, reason: str = "") -> None:
        """Turn the client away; a CONNACK says why."""
        assert self.state is State.DECIDING, "no CONNECT waits"
        version = self._connect.version
        known = code if version == V5 else CONNACK_RETURN_CODES.get(code)
        if known is not None:
            self._send(Connack(code=known, properties=_reason_properties(reason)))
        self._finish(code.name.lower(), reason)

    def grant(self) -> None:
        """Allow the PUBLISH that was announced to be read."""
        assert self._announced, "no PUBLISH was announced"
        self._announced, self._granted = False, True

    def settle(self, ticket: Ticket, verdict: Verdict) -> None:
        """Decide a publish; acknowledgements leave as soon as all before are decided. Harmless after the end."""
        ticket.verdict = verdict
        if self.state is not State.OPEN:
            return
        while self._tickets and (first := self._tickets[0].verdict) is not None:
            self._acknowledge(self._tickets.popleft(), first)

    def publish(self, message: Message) -> int:
        """Send a message to the device, or queue it, and return how many older ones had to go."""
        assert self.session is not None, "not connected"
        dropped = self.session.queue(message)
        self._send_queued()
        return dropped

    def close(self, code: ReasonCode, reason: str, detail: str = "", *, tell_will: bool = True) -> None:
        """End the connection ourselves. Harmless after the end."""
        if self.state is State.ENDED:
            return
        self._disconnect(code, detail)
        self._finish(reason, detail, will=self._will if tell_will else None)

    def lose(self, reason: str, detail: str = "") -> None:
        """Note that the other side is gone. Harmless after the end."""
        if self.state is not State.ENDED:
            self._finish(reason, detail, will=self._will)

    # --- packets in ---

    @property
    def _connect(self) -> Connect:
        assert self.connect is not None, "no CONNECT came"
        return self.connect

    def _is_blocked(self) -> bool:
        if self.state in {State.DECIDING, State.ENDED} or self._announced:
            return True
        return len(self._tickets) >= self._limits.window

    def _advance(self) -> bool:
        """Handle what is at the front of the stream; False when more of it must come first."""
        if self._oversized is not None:
            return self._end_discarding(self._oversized)
        head = self._decoder.head()
        if head is not None and head.is_publish and self.state is State.OPEN and not self._granted:
            if head.frame_bytes <= self._limits.packet_bytes_max:
                self._announced = True
                self._events.append(PublishAnnounced(frame_bytes=head.frame_bytes))
                return True
            return self._meet_oversized(head)
        packet = self._decoder.next_packet()
        if packet is None:
            return False
        self.packets += 1
        if isinstance(packet, Publish) and head is not None:
            self._granted = False
            self._take(packet, head.frame_bytes)
        else:
            self._handle(packet)
        return True

    def _meet_oversized(self, frame: FrameHead) -> bool:
        """Wait for the topic of a PUBLISH that is too large; then end a 5.0 connection, whose client knew the limit.

        3.1.1 can't be told the limit, and would send it for ever: it is read over.
        """
        head = self._decoder.peek_publish()
        if head is None:
            return False
        publish = head.publish
        ticket = Ticket(qos=publish.qos, packet_id=publish.packet_id)
        event = PublishTooLarge(ticket=ticket, publish=publish, payload_bytes=head.payload_bytes)
        if self._connect.version == V5:
            self._events.append(event)
            limit = self._limits.packet_bytes_max
            raise MalformedPacket(
                f"a packet of {frame.frame_bytes} bytes; at most {limit} are taken", ReasonCode.PACKET_TOO_LARGE
            )
        self._decoder.discard_packet()
        self._oversized = event
        return True

    def _end_discarding(self, event: PublishTooLarge) -> bool:
        if self._decoder.discarding:
            return False
        self._oversized = None
        self._tickets.append(event.ticket)
        self._events.append(event)
        return True

    def _take(self, publish: Publish, frame_bytes: int) -> None:
        if publish.properties.topic_alias is not None:
            raise MalformedPacket("a topic alias; none are allowed", ReasonCode.TOPIC_ALIAS_INVALID)
        if publish.properties.subscription_ids:
            raise MalformedPacket("a subscription identifier from a client", ReasonCode.PROTOCOL_ERROR)
        if publish.dup and self._is_answered(publish):
            self._events.append(PublishRepeated(frame_bytes=frame_bytes))
            return
        ticket = Ticket(qos=publish.qos, packet_id=publish.packet_id)
        self._tickets.append(ticket)
        self._events.append(PublishReceived(ticket=ticket, publish=publish, frame_bytes=frame_bytes))

    def _is_answered(self, publish: Publish) -> bool:
        """Answer a repeated PUBLISH whose first is known: being worked on, or between PUBREC and PUBREL.

        DUP=0 with such an id is a new message of a client that lost its count: a sender must set DUP (MQTT-3.3.1-1).
        """
        packet_id = publish.packet_id
        if any(one.packet_id == packet_id and one.qos == publish.qos for one in self._tickets):
            return True  # its acknowledgement will come
        session = self.session
        if publish.qos < 2 or session is None or packet_id is None or packet_id not in session.received:
            return False
        ticket = Ticket(qos=2, packet_id=packet_id)
        self._tickets.append(ticket)
        self.settle(ticket, Verdict())
        return True

    def _handle(self, packet: Packet) -> None:
        session = self.session
        match packet:
            case Connect() if self.state is State.NEW:
                self._on_connect(packet)
            case Puback() if session is not None:
                session.acknowledge(packet.packet_id)
                self._send_queued()
            case Pubrel() if session is not None:
                self._on_pubrel(packet, session)
            case Pubrec():
                # Nothing leaves us at QoS 2, so this id is unknown (section 4.3.3).
                self._send(Pubrel(packet_id=packet.packet_id, code=ReasonCode.PACKET_IDENTIFIER_NOT_FOUND))
            case Pubcomp():
                pass  # likewise: there is nothing to complete
            case Subscribe() | Unsubscribe() if session is not None:
                self._send(answer_subscriptions(packet, session, self._sessions, self._connect.version))
                self._events.append(SubscriptionsChanged())
            case Pingreq():
                self._send(Pingresp())
            case Disconnect() if session is not None:
                self._on_disconnect(packet, session)
            case _:
                raise MalformedPacket(f"{type(packet).__name__} is out of place", ReasonCode.PROTOCOL_ERROR)

    def _on_connect(self, connect: Connect) -> None:
        self.connect = connect
        self.state = State.DECIDING
        if len(connect.client_id) > CLIENT_ID_CHARS_MAX or (
            not connect.client_id and connect.version == V3_1_1 and not connect.clean_start
        ):
            self.refuse(ReasonCode.CLIENT_IDENTIFIER_NOT_VALID)
        elif connect.properties.authentication_method is not None:
            self.refuse(ReasonCode.BAD_AUTHENTICATION_METHOD, "no extended authentication here")
        else:
            self._events.append(ConnectRequested(connect=connect))

    def _on_pubrel(self, packet: Pubrel, session: Session) -> None:
        known = session.received.discard(packet.packet_id)
        code = ReasonCode.SUCCESS if known else ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
        self._send(Pubcomp(packet_id=packet.packet_id, code=code))

    def _on_disconnect(self, packet: Disconnect, session: Session) -> None:
        expiry_s = packet.properties.session_expiry_s
        if expiry_s is not None:
            if expiry_s and not session.expiry_s:
                raise MalformedPacket("a session that began without expiry gets none", ReasonCode.PROTOCOL_ERROR)
            session.expiry_s = min(expiry_s, SESSION_EXPIRY_MAX_S)
        will = None if packet.code == ReasonCode.SUCCESS else self._will
        self._finish("client_disconnected", f"reason code {packet.code:#04x}" if packet.code else "", will=will)

    # --- packets out ---

    def _acknowledge(self, ticket: Ticket, verdict: Verdict) -> None:
        if ticket.packet_id is None:
            return
        refused = verdict.code >= 0x80 and self._connect.version == V5
        packet: type[Acknowledgement] = Puback if ticket.qos == 1 else Pubrec
        properties = self._problem(verdict.reason) if refused else NO_PROPERTIES
        self._send(cast("Packet", packet(packet_id=ticket.packet_id, code=verdict.code, properties=properties)))
        if ticket.qos == 2 and not refused and self.session is not None:
            self.session.received.add(ticket.packet_id)

    def _problem(self, reason: str) -> Properties:
        """Return the reason string, unless the client asked for none or takes tiny packets only."""
        asked = self._connect.properties.request_problem_information
        tiny = (self._connect.properties.maximum_packet_bytes or 1024) < 1024
        return NO_PROPERTIES if asked is False or tiny else _reason_properties(reason)

    def _send_queued(self) -> None:
        session = self.session
        if self.state is not State.OPEN or session is None:
            return
        window = min(self._connect.properties.receive_maximum or OUTBOUND_WINDOW, OUTBOUND_WINDOW)
        while (publish := session.next_outgoing(window)) is not None:
            self._send_publish(publish)

    def _send_publish(self, publish: Publish) -> None:
        data = encode(publish, self._connect.version)
        if len(data) <= (self._connect.properties.maximum_packet_bytes or len(data)):
            self._output.append(data)
            return
        # Section 3.1.2.11.4: what is too large for the client is discarded as if it had been sent.
        self._events.append(MessageDropped(topic=publish.topic))
        if self.session is not None and publish.packet_id is not None:
            self.session.acknowledge(publish.packet_id)

    def _send(self, packet: Packet) -> None:
        self._output.append(encode(packet, self._connect.version))

    def _disconnect(self, code: ReasonCode, detail: str) -> None:
        if self.state is State.OPEN and self._connect.version == V5:
            self._send(Disconnect(code=code, properties=_reason_properties(detail)))

    # --- the end ---

    def _end_by(self, error: MalformedPacket) -> None:
        if isinstance(error, UnsupportedVersion):
            self._output.append(encode(Connack(code=1), V3_1_1) if error.level < V5 else _UNKNOWN_LEVEL)
        self._disconnect(error.code, error.detail)
        self._finish(error.code.name.lower(), error.detail, will=self._will)

    def _finish(self, reason: str, detail: str = "", *, will: Will | None = None) -> None:
        self.state = State.ENDED
        self._decoder.forget()
        self._tickets.clear()
        self._announced = False
        self._events.append(ConnectionEnded(reason=reason, detail=detail, will=will))


# Section 3.1.2.2: a server may tell a client of a later version in the form of 5.0.
_UNKNOWN_LEVEL = encode(Connack(code=ReasonCode.UNSUPPORTED_PROTOCOL_VERSION), V5)


def _changed_expiry(connect: Connect) -> int | None:
    asked = connect.properties.session_expiry_s or 0
    return SESSION_EXPIRY_MAX_S if asked > SESSION_EXPIRY_MAX_S else None


def _reason_properties(reason: str) -> Properties:
    return Properties(reason_string=reason[:REASON_CHARS_MAX]) if reason else NO_PROPERTIES
