"""When to ping the broker, and when to hold the link for dead. Pure: time is an argument.

MQTT 3.1.1 section 3.1.2.10: we must send something at least every ``keepalive_s``, else the broker drops us after one
and a half times that. The same measure the other way: a broker that is silent for that long is gone.
"""

from dataclasses import dataclass
from enum import Enum, auto


class Due(Enum):
    """What the clock asks for."""

    NOTHING = auto()
    PING = auto()
    GIVE_UP = auto()


@dataclass(slots=True, kw_only=True)
class Keepalive:
    """The state of one connection."""

    keepalive_s: float
    heard_at: float
    sent_at: float
    asked_at: float | None = None

    def heard(self, now: float) -> None:
        """Note that something came in: whatever it was, the broker lives."""
        self.heard_at = now
        self.asked_at = None

    def sent(self, now: float) -> None:
        """Note that something went out."""
        self.sent_at = now

    def pinged(self, now: float) -> None:
        """Note that a ping went out."""
        self.sent_at = self.asked_at = now

    def due(self, now: float, *, listening: bool) -> Due:
        """Return what to do now. While we do not listen (no room), silence says nothing, but pings must go out."""
        if not listening:
            self.heard(now)
            return Due.PING if now - self.sent_at >= self.keepalive_s else Due.NOTHING
        if self.asked_at is not None:
            return Due.GIVE_UP if now - self.asked_at >= self.keepalive_s / 2 else Due.NOTHING
        silent = max(now - self.sent_at, now - self.heard_at)
        return Due.PING if silent >= self.keepalive_s else Due.NOTHING
