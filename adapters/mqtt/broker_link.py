"""One connection to the broker and the network thread that owns it; used once, then thrown away.

Everything of paho happens in this thread; the event loop only queues what is to be sent. What ends the thread, foreseen
or not, becomes a :class:`Lost` for the event loop, which makes the next connection: nothing dies silently.

Back-pressure: while the budget has no room the socket is not read, so TCP holds the broker back. Pings still go out
(the broker would drop a silent client); an answer can't be seen then, so silence counts only while we listen, and
TCP_USER_TIMEOUT notices a peer that takes nothing any more.

Replies go before the acknowledgement of what they answer, in the same TCP stream: a broker that has the
acknowledgement has the reply too, so a reply is never lost by our crash, and need not be stored.
"""

import asyncio
import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import structlog

from adapters.mqtt import broker_diagnosis as diagnosis
from adapters.mqtt.broker_budget import Budget
from adapters.mqtt.broker_diagnosis import Lost
from adapters.mqtt.broker_framing import Framer, NotMqtt, Packet
from adapters.mqtt.broker_keepalive import Due, Keepalive
from adapters.mqtt.broker_options import BrokerOptions
from adapters.mqtt.broker_paho import CONNACK, SUCCESS, DeferredClient, tls_context
from adapters.mqtt.broker_session import SessionFile, SessionLife
from adapters.mqtt.contract import Inbound
from adapters.mqtt.refusals import packet_too_large
from gateway.errors import PayloadTooLarge

log = structlog.get_logger(__name__)

READ_BYTES = 64 * 1024
# How often to look at the clock while nothing happens: half of the least keepalive's second half.
TICK_S = 0.5
# Replies at QoS 1 that the broker has not acknowledged, about 1 kB each; beyond it they go at QoS 0. (To stop reading
# instead would be a deadlock: the acknowledgements come by the same socket.)
REPLIES_UNACKNOWLEDGED_MAX = 256
# Packets that wait to be written because the broker takes nothing; beyond it we stop reading.
UNWRITTEN_MAX = 1024
# For DISCONNECT and what is queued before it, when stopping.
FLUSH_S = 1.0
FLUSH_STEP_S = 0.005
# The reason of an end that was asked for.
FINISHED = "finished"
_SUBSCRIBE_REFUSED = 0x80  # MQTT 3.1.1 section 3.9.3
_DUP, _RETAIN, _NO_QOS = 0x08, 0x01, 3  # section 3.3.1
_HANG_UP = select.POLLERR | select.POLLHUP
_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)  # Linux only; elsewhere a ping notices


@dataclass(frozen=True, slots=True)
class Reply:
    """What a device is told, on its reply topic."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message from the broker. ``stale``: a retained copy, though we were subscribed all along and had it then.

    ``too_large`` says why its payload, of ``payload_bytes``, was not kept.
    """

    inbound: Inbound
    stale: bool
    payload_bytes: int
    too_large: PayloadTooLarge | None = None


class LinkEvents(Protocol):
    """What a link tells; called in the event loop, in this order."""

    def link_received(self, batch: Sequence[Delivered]) -> None:
        """Take messages; their places and bytes are taken from the budget already."""

    def link_subscribed(self) -> None:
        """Know that the broker has granted every filter."""

    def link_ended(self, lost: Lost) -> None:
        """Know that the thread has ended; nothing follows."""


class _Finished(Exception):
    """The thread was asked to end."""


class BrokerLink:
    """The thread. ``send``, ``wake``, ``pause``, ``finish`` and ``drop`` may be called from any thread."""

    def __init__(
        self, *, options: BrokerOptions, budget: Budget, session: SessionFile, events: LinkEvents, name: str
    ) -> None:
        self._options = options
        self._budget = budget
        self._session = session
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._outgoing: deque[tuple[Sequence[Reply], Sequence[int]]] = deque()
        self._woken = False
        self._paused = False
        self._finish = False
        self._drop: Lost | None = None
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.settimeout(0)
        # The thread's own:
        self._framer = Framer(body_bytes_max=options.packet_bytes_max)
        self._received: list[Delivered] = []
        self._at_qos_2: set[int] = set()
        self._life: SessionLife | None = None
        self._granted: Sequence[int] | None = None

    # --- for the event loop ---------------------------------------------------------------------------

    def start(self) -> None:
        """Connect and serve; what happens is told to ``events``."""
        self._thread.start()

    def send(self, replies: Sequence[Reply], packet_ids: Sequence[int]) -> None:
        """Send ``replies``, then acknowledge ``packet_ids`` in this order. Does nothing on a connection that ended."""
        self._outgoing.append((replies, packet_ids))
        self.wake()

    def wake(self) -> None:
        """Make the thread look: there is room in the budget, or something to send."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):  # closed: it has ended
                self._wake_writer.send(b"\0")

    def pause(self) -> None:
        """Take nothing more from the broker."""
        self._paused = True

    def finish(self) -> None:
        """Send what is queued, take leave and end."""
        self._finish = True
        self.wake()

    def drop(self, why: Lost) -> None:
        """Cut the connection, so that the broker delivers again what is not acknowledged."""
        self._drop = why
        self.wake()

    # --- the thread -----------------------------------------------------------------------------------

    def _main(self) -> None:
        with contextlib.ExitStack() as at_end:
            at_end.push(self._ended)
            self._serve()

    def _ended(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        if isinstance(error, Lost):
            lost = error
        elif error is None or isinstance(error, _Finished):
            lost = Lost(FINISHED, f"left {self._options.url}")
        else:
            log.error("mqtt_network_thread_failed", exc_info=error)
            lost = Lost(
                "network_thread_failed", f"an error of our own: {error!r}", "Please report the log's traceback."
            )
        self._hand_over()
        self._post(self._events.link_ended, lost)
        self._wake_reader.close()
        self._wake_writer.close()
        return True

    def _post(self, tell: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(tell, *arguments)

    def _serve(self) -> None:
        options = self._options
        try:
            tls = tls_context(options) if options.tls else None
        except OSError as error:
            raise diagnosis.unusable_files(error, options) from error
        client = DeferredClient(options, tls)
        try:
            self._converse(client)
        except OSError as error:
            raise diagnosis.network_error(error, options) from error
        except (NotMqtt, struct.error, UnicodeError) as error:
            raise diagnosis.not_mqtt(options, error) from error
        finally:
            _close(client)

    def _converse(self, client: DeferredClient) -> None:
        self._connect(client)
        self._subscribe(client)
        self._post(self._events.link_subscribed)
        while True:
            self._turn(client)

    def _connect(self, client: DeferredClient) -> None:
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.connect(self._options.host, self._options.port, self._options.keepalive_s)
        now = time.monotonic()
        self._keepalive = Keepalive(keepalive_s=self._options.keepalive_s, heard_at=now, sent_at=now)
        self._await(client, lambda: self._life is not None, "answer to CONNECT")

    def _subscribe(self, client: DeferredClient) -> None:
        assert self._life is not None
        wanted = self._options.filters
        gone = [old for old in self._life.filters if old not in wanted]
        if gone:
            client.unsubscribe(gone)
        # Always, even to what a continued session should know: a broker that was killed may have lost it.
        client.subscribe([(text, 1) for text in wanted])
        self._await(client, lambda: self._granted is not None, "answer to SUBSCRIBE")
        assert self._granted is not None
        refused = [text for text, code in zip(wanted, self._granted, strict=False) if code == _SUBSCRIBE_REFUSED]
        if refused:
            raise diagnosis.refused_subscription(refused, self._options)
        self._session.granted(wanted)

    def _await(self, client: DeferredClient, done: Callable[[], bool], awaited: str) -> None:
        give_up_at = time.monotonic() + self._options.connect_timeout_s
        while not done():
            listened = self._turn(client)
            now = time.monotonic()
            if not listened:  # the answer waits behind messages that we have no room for
                give_up_at = now + self._options.connect_timeout_s
            if now > give_up_at:
                raise diagnosis.not_answering(self._options, awaited)

    def _turn(self, client: DeferredClient) -> bool:
        """Wait for something to happen and act on it. Returns whether we were listening."""
        self._obey(client)
        listening = self._has_room(client)
        readable = self._poll(client, listening)
        if readable and listening:
            self._read(client)
        self._write(client)
        self._mind_the_clock(client, listening)
        return listening

    def _obey(self, client: DeferredClient) -> None:
        if self._drop is not None:
            raise self._drop
        while self._outgoing:
            replies, packet_ids = self._outgoing.popleft()
            for reply in replies:
                client.publish(reply.topic, reply.payload, qos=int(client.unacknowledged < REPLIES_UNACKNOWLEDGED_MAX))
            if packet_ids:
                client.acknowledge(packet_ids, at_qos_2=self._at_qos_2)
        if self._finish:
            client.take_leave()
            _flush(client)
            raise _Finished

    def _has_room(self, client: DeferredClient) -> bool:
        return (
            not self._paused
            and client.unwritten < UNWRITTEN_MAX
            and self._budget.has_room(self._framer.expected_bytes())
        )

    def _poll(self, client: DeferredClient, listening: bool) -> bool:  # noqa: FBT001  private, one caller
        """Wait; returns whether there is something to read."""
        sock = client.socket()
        if sock is None:
            raise diagnosis.closed_by_broker(self._options, subscribed=self._granted is not None)
        waiting = self._framer.has_more or (isinstance(sock, ssl.SSLSocket) and sock.pending() > 0)
        mask = select.POLLIN if listening else _PEER_CLOSED
        mask |= select.POLLOUT if client.want_write() else 0
        poll = select.poll()
        poll.register(sock, mask)
        poll.register(self._wake_reader, select.POLLIN)
        ready = dict(poll.poll(0 if waiting and listening else TICK_S * 1000))
        if self._wake_reader.fileno() in ready:
            self._wake_reader.recv(READ_BYTES)
            self._woken = False  # before looking, so that what comes from now on wakes again
        seen = ready.get(sock.fileno(), 0)
        if not listening and seen & (_HANG_UP | _PEER_CLOSED):
            raise diagnosis.closed_by_broker(self._options, subscribed=self._granted is not None)
        return waiting or bool(seen & (select.POLLIN | _HANG_UP))

    def _read(self, client: DeferredClient) -> None:
        if not self._framer.has_more:
            self._receive(client)
        while self._has_room(client) and (packet := self._framer.next_packet()) is not None:
            self._keepalive.heard(time.monotonic())
            # paho tells nobody of code 1, and would answer it by trying an older protocol.
            if packet.command == CONNACK and len(packet.body) == 2 and packet.body[1]:
                raise diagnosis.refused_connection(packet.body[1], self._options)
            if packet.payload is not None:
                self._deliver(packet, packet.payload)
            elif (code := client.handle(packet)) != SUCCESS:
                raise NotMqtt(f"paho's error {code}")
        self._hand_over()

    def _receive(self, client: DeferredClient) -> None:
        sock = client.socket()
        try:
            data = sock.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        if not data:
            raise diagnosis.closed_by_broker(self._options, subscribed=self._granted is not None)
        self._framer.feed(data)

    def _hand_over(self) -> None:
        if self._received:
            self._post(self._events.link_received, self._received)
            self._received = []

    def _write(self, client: DeferredClient) -> None:
        if not client.want_write():
            return
        client.loop_write()
        if client.socket() is None:
            raise diagnosis.closed_by_broker(self._options, subscribed=self._granted is not None)
        if not client.want_write():
            self._keepalive.sent(time.monotonic())

    def _mind_the_clock(self, client: DeferredClient, listening: bool) -> None:  # noqa: FBT001  private, one caller
        due = self._keepalive.due(time.monotonic(), listening=listening)
        if due is Due.GIVE_UP:
            raise diagnosis.silent(self._options)
        if due is Due.PING:
            client.ping()
            self._keepalive.pinged(time.monotonic())
            self._write(client)

    # --- what paho calls, in the thread ---------------------------------------------------------------

    def _on_connect(self, _client: DeferredClient, _userdata: object, flags: Mapping[str, int], code: int) -> None:
        assert code == 0
        self._life = self._session.enter(self._options.session_key, present=bool(flags["session present"]))

    def _on_subscribe(
        self, _client: DeferredClient, _userdata: object, _packet_id: int, granted: Sequence[int]
    ) -> None:
        self._granted = granted

    # --- what the broker delivers ---------------------------------------------------------------------

    def _deliver(self, packet: Packet, payload: bytes) -> None:
        """Queue a PUBLISH for the event loop; of one that was too large only the topic is here."""
        if self._life is None:
            raise NotMqtt("a message before the answer to CONNECT")
        if packet.qos == _NO_QOS or not packet.topic:
            raise NotMqtt("a message without a topic, or of QoS 3")
        if packet.qos == 2 and packet.packet_id is not None:
            # We subscribe at QoS 1: what another program subscribed to under our name may still come so.
            self._at_qos_2.add(packet.packet_id)
        payload_bytes, too_large = len(payload) + packet.omitted_bytes, None
        if packet.omitted_bytes:
            too_large = packet_too_large(payload_bytes, packet_bytes_max=self._options.packet_bytes_max)
        inbound = Inbound(
            client_id=self._options.client_id,
            session=self._life.name,
            # Bytes that are no UTF-8 are shown escaped: no pattern matches such a topic.
            topic=packet.topic.decode(errors="backslashreplace"),
            payload=payload,
            qos=packet.qos,
            dup=bool(packet.command & _DUP),
            retain=bool(packet.command & _RETAIN),
            packet_id=packet.packet_id,
        )
        self._budget.take(len(payload))
        stale = inbound.retain and self._life.filters == self._options.filters
        self._received.append(Delivered(inbound, stale, payload_bytes, too_large))


def _flush(client: DeferredClient) -> None:
    """Write what is queued, then read until the broker closes, so that nothing sent is undone by a reset."""
    give_up_at = time.monotonic() + FLUSH_S
    while client.want_write() and client.socket() is not None and time.monotonic() < give_up_at:
        client.loop_write()
        time.sleep(FLUSH_STEP_S)
    sock = client.socket()
    if sock is None:
        return
    sock.settimeout(FLUSH_S)
    with contextlib.suppress(OSError):
        while sock.recv(READ_BYTES) and time.monotonic() < give_up_at:
            pass


def _close(client: DeferredClient) -> None:
    sock = client.socket()
    if sock is not None:
        sock.close()
