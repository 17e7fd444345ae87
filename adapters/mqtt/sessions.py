"""MQTT sessions: what the listener remembers of a device between its connections. No I/O, no clock.

Owns: subscriptions, messages that wait for the device or for its PUBACK, and the packet ids of QoS 2 publishes that
were answered with PUBREC. Bounded: ``sessions_max`` sessions (those longest away go first), ``queued_max`` messages
and ``QUEUE_BYTES_MAX`` in each (the oldest go first), ``SUBSCRIPTIONS_MAX`` filters in each; and the messages of all
(``sessions_room``).
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from adapters.mqtt.codec_packets import V5, Connect, Publish
from adapters.mqtt.sessions_filters import device_of, matches
from adapters.mqtt.sessions_room import WaitingRoom, cost_bytes

# A week: longer than any holiday weekend; MQTT 3.1.1 knows no expiry, so this is its only end.
SESSION_EXPIRY_MAX_S = 7 * 24 * 3600
# Results have about 1 kB, commands of the hub at most 64 kB.
QUEUE_BYTES_MAX = 256 * 1024
# A device has two topics to hear.
SUBSCRIPTIONS_MAX = 16
_PACKET_IDS = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionKey:
    """Who a session belongs to. Two devices that proved different identities never share one."""

    client_id: str
    device_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """What of a session outlives the process."""

    key: SessionKey
    life: str
    expiry_s: int
    subscriptions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What the gateway tells a device."""

    topic: str
    payload: bytes
    qos: int = 1

    @property
    def cost_bytes(self) -> int:
        return cost_bytes(self.topic, self.payload)


class PacketIds:
    """A set of packet ids in at most 8 KiB: a set of ints would take megabytes when a client uses them all."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = 0

    def __contains__(self, packet_id: int) -> bool:
        return bool(self._bits >> packet_id & 1)

    def add(self, packet_id: int) -> None:
        self._bits |= 1 << packet_id

    def discard(self, packet_id: int) -> bool:
        """Remove ``packet_id`` and tell whether it was there."""
        known = packet_id in self
        if known:
            self._bits ^= 1 << packet_id
        return known


class Session:
    """One session. ``life`` names it: a clean start makes another, and packet ids repeat across lives."""

    __slots__ = (
        "_bytes",
        "_in_flight",
        "_last_id",
        "_queue",
        "_queued_max",
        "_room",
        "expiry_s",
        "key",
        "life",
        "received",
        "subscriptions",
    )

    def __init__(self, *, key: SessionKey, life: str, expiry_s: int, queued_max: int, room: WaitingRoom) -> None:
        self.key = key
        self.life = life
        self.expiry_s = expiry_s
        self.subscriptions: dict[str, int] = {}
        self.received = PacketIds()
        self._queued_max = queued_max
        self._room = room
        self._queue: deque[Message] = deque()
        self._bytes = 0
        self._in_flight: dict[int, Publish] = {}
        self._last_id = 0

    @property
    def record(self) -> SessionRecord:
        subscriptions = tuple(self.subscriptions.items())
        return SessionRecord(key=self.key, life=self.life, expiry_s=self.expiry_s, subscriptions=subscriptions)

    def granted_qos(self, topic: str) -> int | None:
        """Return the highest QoS of the subscriptions that match, or None."""
        return max((qos for one, qos in self.subscriptions.items() if matches(one, topic)), default=None)

    def queue(self, message: Message) -> int:
        """Add a message for the device and return how many older ones had to go."""
        self._queue.append(message)
        self._bytes += message.cost_bytes
        dropped = 0
        while len(self._queue) > self._queued_max or (self._bytes > QUEUE_BYTES_MAX and len(self._queue) > 1):
            self._room.give(self, self._unqueue().cost_bytes)
            dropped += 1
        self._room.take(self, message.cost_bytes)
        return dropped

    def drop_oldest(self) -> None:
        """Forget the oldest message that waits: for its PUBACK, else to be sent."""
        if self._in_flight:
            self.acknowledge(next(iter(self._in_flight)))
        else:
            self._room.give(self, self._unqueue().cost_bytes)

    def forget_messages(self) -> None:
        """Drop everything that waits: the session ends."""
        while self._in_flight or self._queue:
            self.drop_oldest()

    def _unqueue(self) -> Message:
        message = self._queue.popleft()
        self._bytes -= message.cost_bytes
        return message

    def next_outgoing(self, window: int) -> Publish | None:
        """Return what to send next while fewer than ``window`` wait for a PUBACK."""
        if not self._queue or (self._queue[0].qos and len(self._in_flight) >= window):
            return None
        message = self._unqueue()
        packet_id = self._free_id() if message.qos else None
        publish = Publish(topic=message.topic, payload=message.payload, qos=message.qos, packet_id=packet_id)
        if packet_id is not None:
            self._in_flight[packet_id] = publish
        else:
            self._room.give(self, message.cost_bytes)
        return publish

    def unacknowledged(self) -> Iterator[Publish]:
        """Return what was sent and not acknowledged, marked as repeated, oldest first."""
        for one in list(self._in_flight.values()):
            yield Publish(topic=one.topic, payload=one.payload, qos=one.qos, packet_id=one.packet_id, dup=True)

    def acknowledge(self, packet_id: int) -> bool:
        """Forget a message that the device has; False if there is none of that id."""
        publish = self._in_flight.pop(packet_id, None)
        if publish is None:
            return False
        self._room.give(self, cost_bytes(publish.topic, publish.payload))
        return True

    def _free_id(self) -> int:
        # The window is far below the number of ids, so one is free.
        while True:
            self._last_id = self._last_id % _PACKET_IDS + 1
            if self._last_id not in self._in_flight:
                return self._last_id


class Sessions:
    """All sessions of one listener, connected or away."""

    def __init__(self, *, sessions_max: int, queued_max: int, waiting_bytes_max: int) -> None:
        self._sessions_max = sessions_max
        self._queued_max = queued_max
        self.room = WaitingRoom(bytes_max=waiting_bytes_max)
        self._all: dict[SessionKey, Session] = {}
        # In the order in which they went away, with the moment at which they expire.
        self._away: dict[SessionKey, float] = {}
        self._by_device: dict[str, set[SessionKey]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def open(self, key: SessionKey, *, clean_start: bool, expiry_s: int, new_life: str) -> tuple[Session, bool]:
        """Return the device's session and whether it was there before. Makes room by dropping one that is away."""
        session = None if clean_start else self._all.get(key)
        present = session is not None
        if session is None:
            self.drop(key)
            self._make_room()
            session = Session(key=key, life=new_life, expiry_s=expiry_s, queued_max=self._queued_max, room=self.room)
            self._all[key] = session
        session.expiry_s = expiry_s
        self._away.pop(key, None)
        return session, present

    def find(self, key: SessionKey) -> Session | None:
        """Return the session of ``key``, if there is one."""
        return self._all.get(key)

    def leave(self, session: Session, now: float) -> None:
        """Note that the device is gone: its session ends now or later."""
        if self._all.get(session.key) is not session:
            return
        if not session.expiry_s:
            self.drop(session.key)
        else:
            self._away.pop(session.key, None)
            self._away[session.key] = now + session.expiry_s

    def drop(self, key: SessionKey) -> None:
        """Forget a session, if it is there."""
        session = self._all.pop(key, None)
        self._away.pop(key, None)
        if session is None:
            return
        session.forget_messages()
        for topic_filter in session.subscriptions:
            self._unindex(key, device_of(topic_filter))

    def expire(self, now: float) -> list[SessionKey]:
        """Forget the sessions whose time is over and return them."""
        over = [key for key, ends_at in self._away.items() if ends_at <= now]
        for key in over:
            self.drop(key)
        return over

    def subscribe(self, session: Session, topic_filter: str, qos: int) -> bool:
        """Add or replace a subscription; False when the session has too many."""
        if topic_filter not in session.subscriptions and len(session.subscriptions) >= SUBSCRIPTIONS_MAX:
            return False
        session.subscriptions[topic_filter] = qos
        device_id = device_of(topic_filter)
        if device_id is not None:
            self._by_device.setdefault(device_id, set()).add(session.key)
        return True

    def unsubscribe(self, session: Session, topic_filter: str) -> bool:
        """Remove a subscription; False if there was none."""
        if session.subscriptions.pop(topic_filter, None) is None:
            return False
        device_id = device_of(topic_filter)
        if all(device_of(one) != device_id for one in session.subscriptions):
            self._unindex(session.key, device_id)
        return True

    def subscribers(self, topic: str) -> list[tuple[Session, int]]:
        """Return the sessions that want ``topic``, each with the QoS that it was granted."""
        keys = self._by_device.get(device_of(topic) or "", ())
        found = ((self._all[key], self._all[key].granted_qos(topic)) for key in keys)
        return [(session, qos) for session, qos in found if qos is not None]

    def restore(self, records: Iterable[SessionRecord], now: float) -> None:
        """Take up the sessions of an earlier process; all of them are away."""
        for record in records:
            session, _ = self.open(record.key, clean_start=True, expiry_s=record.expiry_s, new_life=record.life)
            for topic_filter, qos in record.subscriptions:
                self.subscribe(session, topic_filter, qos)
            self.leave(session, now)

    def records(self) -> list[SessionRecord]:
        """Return what should outlive the process."""
        return [session.record for session in self._all.values() if session.expiry_s]

    def _make_room(self) -> None:
        while len(self._all) >= self._sessions_max and self._away:
            self.drop(next(iter(self._away)))

    def _unindex(self, key: SessionKey, device_id: str | None) -> None:
        keys = self._by_device.get(device_id or "")
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._by_device[device_id or ""]


def session_expiry_s(connect: Connect) -> int:
    """Return how long the session outlives its connection: MQTT 5 says so, 3.1.1 says for ever or not at all."""
    if connect.version == V5:
        return min(connect.properties.session_expiry_s or 0, SESSION_EXPIRY_MAX_S)
    return 0 if connect.clean_start else SESSION_EXPIRY_MAX_S
