"""When a device at the listener is late: with its CONNECT, a packet's rest, a sign of life, or reading what it is sent.

Pure: the time is passed in, in seconds that never go back. Times do not run while we ourselves do not read.
"""

from adapters.mqtt.codec_reasons import ReasonCode
from adapters.mqtt.connection import Connection, State

# For one packet from its first byte to its last: 8 MiB at 1.1 Mbit/s, 400 kB at 56 kbit/s. Chunks are for slower ones.
PACKET_TIMEOUT_S = 60.0
# How long a device may not read what it is sent.
STALL_TIMEOUT_S = 30.0
# MQTT 3.1.1 and 5.0 section 3.1.2.10: one and a half times the keep-alive.
KEEP_ALIVE_FACTOR = 1.5

Late = tuple[ReasonCode, str]


class Deadlines:
    """The deadlines of one connection. Ask ``late`` twice a second or so."""

    __slots__ = ("_connect_by", "_heard_at", "_packet_since", "_packets", "_stalled_at")

    def __init__(self, *, now: float, connect_timeout_s: float) -> None:
        self._connect_by = now + connect_timeout_s
        self._heard_at = now
        self._packet_since: float | None = None
        self._packets = 0
        self._stalled_at: float | None = None

    def heard(self, now: float) -> None:
        """Note a sign of life, or that we begin to listen for one."""
        self._heard_at = now

    def stalled(self, now: float) -> None:
        """Note that the device does not read what it is sent."""
        self._stalled_at = now

    def flows(self) -> None:
        """Note that it does again."""
        self._stalled_at = None

    @property
    def is_stalled(self) -> bool:
        return self._stalled_at is not None

    def late(self, connection: Connection, now: float, *, reading: bool) -> Late | None:
        """Return why the connection must end now, as a reason code and a slug; None when the device is in time."""
        if self._stalled_at is not None and now - self._stalled_at > STALL_TIMEOUT_S:
            return ReasonCode.QUOTA_EXCEEDED, "slow_reader"
        if connection.state in {State.NEW, State.DECIDING}:
            return (ReasonCode.MAXIMUM_CONNECT_TIME, "connect_timeout") if now > self._connect_by else None
        if not reading:
            self._heard_at = now
            self._packet_since = None
            return None
        if self._is_packet_late(connection, now):
            return ReasonCode.KEEP_ALIVE_TIMEOUT, "packet_timeout"
        keep_alive_s = connection.connect.keep_alive_s if connection.connect is not None else 0
        if keep_alive_s and now - self._heard_at > keep_alive_s * KEEP_ALIVE_FACTOR:
            return ReasonCode.KEEP_ALIVE_TIMEOUT, "keep_alive_timeout"
        return None

    def _is_packet_late(self, connection: Connection, now: float) -> bool:
        if not connection.is_mid_packet:
            self._packet_since = None
        elif self._packet_since is None or self._packets != connection.packets:
            self._packet_since, self._packets = now, connection.packets
        return self._packet_since is not None and now - self._packet_since > PACKET_TIMEOUT_S
