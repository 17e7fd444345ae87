"""A fuzzer on the state of one connection: whatever a client sends and however it is decided, promises are kept.

Promises: no exception; a publish is acknowledged only after it was settled, in order of arrival; what is held is
bounded; after the end nothing is said.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from adapters.mqtt.codec import PacketDecoder, encode
from adapters.mqtt.codec_packets import (
    V3_1_1,
    V5,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Puback,
    Publish,
    Pubrec,
    Pubrel,
    Subscribe,
    Subscription,
    Unsubscribe,
)
from adapters.mqtt.codec_reasons import ReasonCode
from adapters.mqtt.connection import Connection, State
from adapters.mqtt.connection_events import (
    ConnectionEnded,
    ConnectionLimits,
    ConnectRequested,
    PublishAnnounced,
    PublishReceived,
    PublishTooLarge,
    Ticket,
    Verdict,
)
from adapters.mqtt.sessions import Message, SessionKey, Sessions

WINDOW = 4
PACKET_BYTES_MAX = 2_000
TOPIC = "devices/c/results"

packet_ids = st.integers(1, 5)
packets = st.one_of(
    st.builds(
        lambda qos, packet_id, size, dup: Publish(
            topic="t", payload=bytes(size), qos=qos, packet_id=packet_id if qos else None, dup=dup
        ),
        st.integers(0, 2),
        packet_ids,
        st.sampled_from([0, 10, 1_000, 5_000]),
        st.booleans(),
    ),
    st.builds(Pubrel, packet_id=packet_ids),
    st.builds(Pubrec, packet_id=packet_ids),
    st.builds(Puback, packet_id=packet_ids),
    st.just(Pingreq()),
    st.builds(
        lambda one: Subscribe(packet_id=9, subscriptions=(Subscription(topic_filter=one, qos=1),)),
        st.sampled_from([TOPIC, "#", "a#", "$share/g/x"]),
    ),
    st.just(Unsubscribe(packet_id=9, topic_filters=(TOPIC,))),
    st.just(Disconnect()),
)


class ConnectionFuzzer(RuleBasedStateMachine):
    """Feeds one connection after the other of the same session, and checks what leaves it."""

    @initialize(version=st.sampled_from([V3_1_1, V5]))
    def begin(self, version: int) -> None:
        self.version = version
        self.sessions = Sessions(sessions_max=4, queued_max=3, waiting_bytes_max=4_000_000)
        self._dial()

    def _dial(self) -> None:
        limits = ConnectionLimits(packet_bytes_max=PACKET_BYTES_MAX, window=WINDOW)
        self.connection = Connection(limits=limits, sessions=self.sessions)
        self.output = PacketDecoder(packet_bytes_max=100_000, version=self.version)
        self.arrived: list[Ticket] = []
        self.acknowledged = 0
        self.wants_grant = False
        connect = Connect(version=self.version, client_id="c", clean_start=False, keep_alive_s=0)
        self._feed(encode(connect, self.version))

    def _feed(self, data: bytes) -> None:
        self.connection.receive_data(data)
        self._drain()

    def _drain(self) -> None:
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, ConnectRequested):
                key = SessionKey(client_id="c", device_id=None)
                session, present = self.sessions.open(key, clean_start=False, expiry_s=9, new_life="1")
                self.connection.accept(session, present=present)
            elif isinstance(event, PublishAnnounced):
                self.wants_grant = True
            elif isinstance(event, PublishReceived | PublishTooLarge):
                self.arrived.append(event.ticket)
            elif isinstance(event, ConnectionEnded):
                self.wants_grant = False
        self._check_output()

    def _check_output(self) -> None:
        self.output.feed(self.connection.data_to_send())
        while (packet := self.output.next_packet()) is not None:
            if isinstance(packet, Puback | Pubrec):
                self._check_acknowledgement(packet)

    def _check_acknowledgement(self, packet: Puback | Pubrec) -> None:
        mine = [ticket for ticket in self.arrived[self.acknowledged :] if ticket.qos]
        if mine and mine[0].verdict is not None and mine[0].packet_id == packet.packet_id:
            self.acknowledged = self.arrived.index(mine[0]) + 1
            return
        # The only other one is a repeated QoS 2 publish between PUBREC and PUBREL.
        session = self.connection.session
        assert isinstance(packet, Pubrec)
        assert session is not None
        assert packet.packet_id in session.received

    @rule(packet=packets)
    def send(self, packet: Packet) -> None:
        self._feed(encode(packet, self.version))

    @rule(packet=packets, place=st.integers(0, 5_000))
    def send_a_part(self, packet: Packet, place: int) -> None:
        self._feed(encode(packet, self.version)[:place])

    @rule(data=st.binary(max_size=30))
    def send_garbage(self, data: bytes) -> None:
        self._feed(data)

    @precondition(lambda self: self.wants_grant)
    @rule()
    def grant(self) -> None:
        self.wants_grant = False
        self.connection.grant()
        self._drain()

    @precondition(lambda self: any(ticket.verdict is None for ticket in self.arrived))
    @rule(data=st.data(), code=st.sampled_from([ReasonCode.SUCCESS, ReasonCode.PAYLOAD_FORMAT_INVALID]))
    def settle(self, data: st.DataObject, code: ReasonCode) -> None:
        ticket = data.draw(st.sampled_from([ticket for ticket in self.arrived if ticket.verdict is None]))
        self.connection.settle(ticket, Verdict(code=code, reason="because"))
        self._drain()

    @precondition(lambda self: self.connection.state is State.OPEN)
    @rule(qos=st.integers(0, 1))
    def tell_the_device(self, qos: int) -> None:
        self.connection.publish(Message(topic=TOPIC, payload=b"x", qos=qos))
        self._drain()

    @rule()
    def close(self) -> None:
        self.connection.close(ReasonCode.SERVER_SHUTTING_DOWN, "stopping")
        self._drain()

    @precondition(lambda self: self.connection.state is State.ENDED)
    @rule()
    def dial_again(self) -> None:
        self._dial()

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        assert self.connection.unacknowledged <= WINDOW

    @invariant()
    def after_the_end_nothing_is_wanted(self) -> None:
        if self.connection.state is State.ENDED:
            assert not self.connection.wants_data
            assert self.connection.data_to_send() == b""


ConnectionFuzzer.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_whatever_a_client_sends_the_connection_keeps_its_promises = ConnectionFuzzer.TestCase
