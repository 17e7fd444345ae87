"""Who is connected under which session, and who hears what: the listener's memory of its devices.

One connection a session: a client id that is used twice ends the older connection. A session that outlives its
connection is on disk before its CONNACK leaves.
"""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from adapters.mqtt.codec_packets import Connect, Will
from adapters.mqtt.codec_reasons import ReasonCode
from adapters.mqtt.connection_events import ConnectionEnded
from adapters.mqtt.listener_credentials import Credentials, Identity
from adapters.mqtt.listener_status import ClientStatus, OnStatus, State
from adapters.mqtt.sessions import Message, Session, SessionKey, Sessions, session_expiry_s
from adapters.mqtt.sessions_file import SessionsFile
from gateway.ports import Clock, Meter

log = structlog.get_logger(__name__)

# The ends that are everyday life; all others are worth a warning.
_QUIET_ENDS = frozenset({"client_disconnected", "lost", "stopping"})


class Link(Protocol):
    """One open connection, as the registry needs it."""

    @property
    def peer(self) -> str:
        """The client's address."""

    @property
    def certified(self) -> str | None:
        """The device that its certificate names, empty if that names none; None without a certificate."""

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""

    @property
    def is_open(self) -> bool:
        """Whether the client was let in and is there."""

    def accept(self, session: Session, *, present: bool, assigned_client_id: str | None) -> None:
        """Let the client in."""

    def refuse(self, code: ReasonCode, reason: str) -> None:
        """Turn the client away."""

    def take_over(self) -> None:
        """End: another connection has the session now."""

    def publish(self, message: Message) -> int:
        """Send a message to the device and return how many older ones had to go."""


class Registry:
    """All sessions, and the links of those that are connected."""

    def __init__(
        self,
        *,
        sessions_max: int,
        queued_max: int,
        waiting_bytes_max: int,
        sessions_path: Path | None,
        credentials: Callable[[], Credentials],
        is_revoked: Callable[[str], bool] | None,
        on_status: OnStatus | None,
        meter: Meter,
        clock: Clock,
    ) -> None:
        self.sessions = Sessions(sessions_max=sessions_max, queued_max=queued_max, waiting_bytes_max=waiting_bytes_max)
        self.file = SessionsFile(sessions_path, current=self.sessions.records)
        self._links: dict[SessionKey, Link] = {}
        self._credentials = credentials
        self._is_revoked = is_revoked
        self._on_status = on_status
        self._meter = meter
        self._clock = clock
        self._restored = False

    async def restore(self) -> None:
        """Take up the sessions of an earlier process, once."""
        if not self._restored:
            self._restored = True
            self.sessions.restore(await self.file.load(), self._clock.monotonic())

    async def admit(self, link: Link, connect: Connect) -> None:
        """Answer a CONNECT: accept the link or refuse it."""
        identity = await self._identity(link, connect)
        if link.is_gone:
            return
        if identity is None:
            link.refuse(ReasonCode.BAD_USER_NAME_OR_PASSWORD, "the username or password is wrong")
            return
        assigned = None if connect.client_id else f"auto-{uuid.uuid4().hex}"
        key = SessionKey(client_id=assigned or connect.client_id, device_id=identity.device_id)
        session, present = await self._open(link, key, connect)
        if not link.is_gone:
            link.accept(session, present=present, assigned_client_id=assigned)
            self._tell(session, "online")

    async def _identity(self, link: Link, connect: Connect) -> Identity | None:
        """Return who it is. A certificate, which the handshake has verified, outweighs every login."""
        certified = link.certified
        if certified is None:
            return await self._credentials().check(
                connect.username, connect.password, connect.client_id, source=link.peer
            )
        is_revoked = self._is_revoked is not None and self._is_revoked(certified)
        return None if is_revoked or not certified else Identity(device_id=certified)

    async def _open(self, link: Link, key: SessionKey, connect: Connect) -> tuple[Session, bool]:
        older = self._links.pop(key, None)
        if older is not None:
            older.take_over()
        known = self.sessions.find(key)
        before = None if known is None else known.record
        session, present = self.sessions.open(
            key, clean_start=connect.clean_start, expiry_s=session_expiry_s(connect), new_life=uuid.uuid4().hex
        )
        self._links[key] = link
        if session.expiry_s and session.record != before:
            await self.file.keep(session.record)
        elif before is not None and not session.expiry_s:
            self.file.forget(key)
        return session, present

    def leave(self, link: Link, session: Session, ended: ConnectionEnded) -> None:
        """Note that a link has ended."""
        if self._links.get(session.key) is not link:
            return  # taken over
        del self._links[session.key]
        self.sessions.leave(session, self._clock.monotonic())
        if not session.expiry_s:
            self.file.forget(session.key)
        polite = ended.reason in {"client_disconnected", "stopping"}
        self._tell(session, "offline" if polite else "lost", ended.reason, ended.will)

    def abandon(self, link: Link) -> None:
        """Forget a link that ended before it was accepted."""
        for key in [key for key, one in self._links.items() if one is link]:
            del self._links[key]
            session = self.sessions.find(key)
            if session is not None:
                self.sessions.leave(session, self._clock.monotonic())

    def subscriptions_changed(self, session: Session) -> None:
        """Remember the subscriptions of a session that outlives its connection."""
        if session.expiry_s:
            self.file.note(session.record)

    def deliver(self, topic: str, payload: bytes, qos: int = 1) -> int:
        """Tell the devices that subscribed to ``topic``, now or when they return, and return how many there are."""
        subscribers = self.sessions.subscribers(topic)
        for session, granted in subscribers:
            message = Message(topic=topic, payload=payload, qos=min(qos, granted))
            link = self._links.get(session.key)
            if link is not None and link.is_open:
                self.count_reply("sent")
                self._note_dropped(session, link.publish(message))
            elif message.qos and session.expiry_s:
                self.count_reply("queued")
                self._note_dropped(session, session.queue(message))
        return len(subscribers)

    def expire(self) -> None:
        """Forget sessions whose time is over, and tell of messages that had to go. To be called every second or so."""
        evicted = self.sessions.room.take_evicted()
        if evicted:
            self.count_reply("dropped", evicted)
            log.warning("mqtt_reply_dropped", reason="all_queues_full", count=evicted)
        for key in self.sessions.expire(self._clock.monotonic()):
            self.file.forget(key)

    def report_error(self, event: str, error: BaseException) -> None:
        """Log an error of our own."""
        log.error(event, exc_info=error)

    def count_reply(self, outcome: str, count: int = 1) -> None:
        self._meter.count("gateway_mqtt_replies_total", count, way="listener", outcome=outcome)

    def note_end(self, ended: ConnectionEnded, **fields: object) -> None:
        """Count and log the end of a connection, whether or not it was let in."""
        self._meter.count("gateway_mqtt_disconnects_total", way="listener", reason=ended.reason)
        if ended.reason in _QUIET_ENDS:
            log.debug("mqtt_client_gone", reason=ended.reason, **fields)
        else:
            log.warning("mqtt_client_dropped", reason=ended.reason, detail=ended.detail, **fields)

    def _note_dropped(self, session: Session, count: int) -> None:
        if count:
            self.count_reply("dropped", count)
            log.warning("mqtt_reply_dropped", reason="queue_full", client_id=session.key.client_id, count=count)

    def _tell(self, session: Session, state: State, reason: str = "", will: Will | None = None) -> None:
        if will is not None:
            log.info("mqtt_will", client_id=session.key.client_id, topic=will.topic, payload_bytes=len(will.payload))
        if self._on_status is not None:
            key = session.key
            status = ClientStatus(
                client_id=key.client_id, device_id=key.device_id, state=state, reason=reason, will=will
            )
            self._on_status(status)
