"""What framing (pure) and session (I/O) share. Time is passed in; nothing here touches a radio.

A ``Framing`` is fed notifications and clock ticks and answers with actions; the
session carries them out against bleak and the intake. One Framing object lives
as long as one connection, and through reconnects where the profile can resume.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ContentKind(StrEnum):
    """What a transfer carries."""

    IMAGE = "image"
    READING = "reading"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """Write ``data`` to the characteristic of that role (``control``, ``status``, ...)."""

    role: str
    data: bytes
    with_response: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """A whole payload, checked as far as the protocol allows. ``transfer`` names it when its outcome is told back.

    ``submission_id`` is the device's own id, or None; ``orientation`` is EXIF's (1: as it is).
    """

    transfer: int
    kind: ContentKind
    payload: bytes
    submission_id: str | None
    orientation: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Incomplete:
    """A transfer was given up and is counted by ``reason``.

    gap, size, crc, idle_timeout, too_large, protocol: what the device did. no_room: memory for halves was full.
    """

    reason: str
    detail: str


Action = Write | Complete | Incomplete


class Verdict(StrEnum):
    """How a Complete ended. COMMITTED means on disk."""

    COMMITTED = "committed"
    REFUSED = "refused"
    LATER = "later"


class Framing(Protocol):
    """Puts payloads together. Pure: bytes and seconds in, actions out; never raises for what a device sends."""

    def connected(self, now_s: float, *, att_payload_max: int) -> Sequence[Action]:
        """Take note that a link is up and notifications are on; return what to write first (a trigger, a resume)."""

    def notified(self, role: str, data: bytes, now_s: float) -> Sequence[Action]:
        """Take a notification from the characteristic of that role."""

    def ticked(self, now_s: float) -> Sequence[Action]:
        """Time passed; called at least twice a second while connected."""

    def judged(self, transfer: int, verdict: Verdict, now_s: float, *, retry_after_s: float = 0) -> Sequence[Action]:
        """Take the outcome of a Complete; return what to write, e.g. the commit status."""

    def disconnected(self, now_s: float) -> Sequence[Action]:
        """Take note that the link is gone."""

    @property
    def held_bytes(self) -> int:
        """The memory that an unfinished transfer takes; 0 if there is none."""

    def forget(self, reason: str, why: str) -> Sequence[Action]:
        """Drop an unfinished transfer; return its Incomplete, if anything of it had come."""

    def command(self, name: str, value: int | None, now_s: float) -> Sequence[Action]:
        """Return what to write for a command of the profile (``photo``, ``interval``); empty if it knows none such."""
