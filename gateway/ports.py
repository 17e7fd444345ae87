"""The seams between parts: small Protocols whose docstrings say what *returning* means."""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, runtime_checkable

from gateway.messages import (
    PRIORITY_DEFAULT,
    Classification,
    ClockReading,
    CloudMessage,
    Command,
    CommandState,
    DeviceCommand,
    DeviceStatus,
    Event,
    EventDraft,
    Image,
    ModelIdentity,
    PendingEvent,
    PendingSpan,
    Receipt,
    Refusal,
    Stamp,
    Submission,
    Tombstone,
    Watermark,
)


class Clock(Protocol):
    """Time from outside, so that tests own it. Sleeping is asyncio's."""

    def now(self) -> datetime:
        """Return the wall clock, UTC, timezone-aware. Never order or back off by it."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""


class BootClock(Clock, Protocol):
    """A Clock that also knows which start of the machine this is and the time since: setting the date moves neither."""

    @property
    def boot_id(self) -> str:
        """Return an id that is another after each start of the machine."""

    def reading(self) -> ClockReading:
        """Return the wall clock and the time since the start (sleep included), read at one moment."""


class Timekeeper(Protocol):
    """Knows whether the wall clock can be believed."""

    def stamp(self) -> Stamp:
        """Return the time now, for an event."""

    def wall_clock_trusted(self) -> bool:
        """Return whether the wall clock is right now: quiet hours and daily budgets hold only then."""


class Meter(Protocol):
    """Counts and measures. Names and labels are declared in gateway/metrics.py; an undeclared one is our bug."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""

    def level(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""


# --- device side --------------------------------------------------------------------------------------


class Reservation(Protocol):
    """A place in the intake, held while a payload is read and worked on. Give it back exactly once."""

    def grow(self, byte_count: int) -> None:
        """Count ``byte_count`` more bytes held in memory. Raises IntakeFull when the budget is used up."""

    def complete(self) -> None:
        """Say that the payload is whole: from now on this place gives way to nobody."""

    def release(self) -> None:
        """Give place and bytes back. Harmless when repeated."""


class Intake(Protocol):
    """The one door for submissions."""

    def reserve(
        self, byte_count: int = 0, *, source: str = "", give_way: Callable[[], None] | None = None
    ) -> Reservation:
        """Return a place now, or raise Unavailable (IntakeFull, Stopping, OutboxFull): call before reading a body.

        With ``give_way`` the place may be taken back for another ``source`` until it is complete (giving_way.py): it
        is released then, and ``give_way`` called, which must see to it that nothing more is read or submitted.
        """

    async def submit(self, submission: Submission) -> Receipt:
        """Return only when the event is on disk (fsynced). Raises Rejected or Unavailable; then nothing was stored.

        Cancelling does not undo a commit under way: the device sends again and is recognised by its id.
        """

    async def refuse(self, refusal: Refusal) -> None:
        """Note a refusal that an adapter made before submitting. Returns when noted, or dropped on a full disk."""


class EventReader(Protocol):
    """Local reading of what was committed."""

    async def find_event(self, device_id: str, item_id: str) -> Event | None:
        """Return the newest event with that id of that device, or None."""


class Adapter(Protocol):
    """One face towards devices."""

    name: str

    async def start(self) -> None:
        """Return when devices are served. Raises AdapterUnavailable, with the cure in its text."""

    async def failed(self) -> None:
        """Raise AdapterUnavailable when the adapter breaks; never return otherwise. Safe to cancel."""

    async def stop(self, deadline_s: float) -> None:
        """Stop accepting, finish what was admitted within ``deadline_s``, drop what is left. Safe to call twice."""

    def describe(self) -> str:
        """Return where it listens, for the start banner; an empty string if it does not."""


@runtime_checkable
class CommandTarget(Protocol):
    """A face that can tell devices something."""

    async def tell(self, command: DeviceCommand) -> bool:
        """Return True when the device was told, or its session keeps the command for it; False if it is not here now.

        Raises CommandUnknown when the device is here and can't be told that.
        """


class Gatekeeper(Protocol):
    """Knows the site's devices and their secrets."""

    def is_known(self, device_id: str) -> bool:
        """Tell whether the device is known."""

    def recognise(self, secret: str) -> str | None:
        """Return whose token this is, or None. No proof is asked for, so a wrong one is no failure."""

    async def prove(self, *, device_id: str | None, secret: str, source: str) -> str:
        """Return whose secret it is: ``device_id``'s, or of any device if None (tokens only).

        ``source`` is the client's address. Raises NotAuthenticated, or TooManyFailures (429) for one that guesses.
        """

    def is_revoked(self, device_id: str) -> bool:
        """Tell whether the device was revoked and not added again: then its certificate proves nothing."""


class TlsSource(Protocol):
    """A listener's certificate."""

    def prepare(self) -> None:
        """Return when there is one to show. Blocks: not for the event loop. Raises AdapterUnavailable, with the cure.

        To be called once, before ``context``.
        """

    def context(self) -> ssl.SSLContext:
        """Return what a connection that comes now is served with; quick, and never raises."""


class StatusSink(Protocol):
    """Hears of devices that come and go."""

    def note(self, status: DeviceStatus) -> None:
        """Take note. Returns at once and never raises."""


class Readiness(Protocol):
    """Whether the gateway can accept and commit. Never depends on the cloud."""

    def obstacles(self) -> tuple[str, ...]:
        """Return why not ready, as slugs; empty means ready."""


# --- vision -------------------------------------------------------------------------------------------


class Classifier(Protocol):
    """A loaded model."""

    @property
    def model(self) -> ModelIdentity:
        """Return which model is loaded."""

    async def classify(self, image: Image) -> Classification:
        """Return what the model says. Raises Rejected for a bad picture. Decoding is off the event loop."""


# --- outbox -------------------------------------------------------------------------------------------


class EventStore(Protocol):
    """The intake's side of the outbox."""

    async def recall(self, device_id: str, submission_id: str, payload_sha256: str) -> Receipt | None:
        """Return the first receipt of a redelivery (same id, same bytes), with ``duplicate`` set, else None."""

    async def recall_delivery(self, delivery_key: str, payload_sha256: str) -> Receipt | None:
        """Return the receipt of what came last under the transport's name of a delivery, if the bytes are the same."""

    async def commit(self, drafts: Sequence[EventDraft]) -> Receipt:
        """Return when the drafts (one submission, at least one) are on disk, all or none.

        A redelivery (same device, id and payload hash; or a repeated delivery of the same name and hash) stores
        nothing and returns the first receipt.
        Raises SubmissionIdReused (same id, other bytes, IdReuse.REJECT), OutboxFull, DiskUnavailable.
        """

    async def record_refusal(self, refusal: Refusal) -> None:
        """Return when the refusal is noted; the oldest beyond the cap go. Raises DiskUnavailable."""


class PendingQueue(Protocol):
    """The forwarder's side of the outbox. "In flight" is never stored: after a crash, pending is sent again."""

    async def pending_spans(self) -> tuple[PendingSpan, ...]:
        """Return where something is pending: one span for each priority, the most urgent first."""

    async def pending(
        self,
        *,
        limit: int,
        priority: int = PRIORITY_DEFAULT,
        after_sequence: int = 0,
        before_sequence: int | None = None,
        newest_first: bool = False,
    ) -> tuple[PendingEvent, ...]:
        """Return up to ``limit`` pending events of a priority between two keys (neither included), in order."""

    async def pending_among(self, sequences: Sequence[int]) -> tuple[PendingEvent, ...]:
        """Return the pending events among these keys, oldest first."""

    async def pending_tombstones(self, *, limit: int) -> tuple[Tombstone, ...]:
        """Return up to ``limit`` tombstones not yet delivered, oldest first."""

    async def mark_delivered(self, sequences: Sequence[int], tombstone_ids: Sequence[int]) -> None:
        """Return when it is on disk that the cloud has acknowledged these. Raises DiskUnavailable."""

    async def mark_dead(self, sequence: int, reason: str) -> None:
        """Set a pending event aside as a dead letter and add its tombstone, in one transaction."""

    def watermark(self) -> Watermark:
        """Return the watermark of the envelope, from memory: what is read from the disk may be a moment ahead of it."""


class CommitSignal(Protocol):
    """Tells the forwarder that there is work."""

    async def wait_for_work(self) -> None:
        """Return when something became pending (committed, requeued, tombstone) since the last return."""


class CommandStore(Protocol):
    """Keeps cloud-to-device messages: the SDK has acknowledged them before we see them."""

    async def store_command(self, command: Command) -> bool:
        """Return when on disk; False if a command of that id was there already."""

    async def waiting_commands(self, *, limit: int) -> tuple[Command, ...]:
        """Return commands that have no outcome yet, oldest first."""

    async def settle_command(self, command_id: str, outcome: CommandState, detail: str) -> None:
        """Return when the outcome is on disk. Raises DiskUnavailable."""


# --- cloud --------------------------------------------------------------------------------------------


class CloudSession(Protocol):
    """One connection to the hub; used once, then thrown away."""

    async def send(self, message: CloudMessage) -> None:
        """Return when the hub has acknowledged. Raises LinkDown (unknown whether it arrived) or MessageRefused."""

    async def lost(self) -> None:
        """Raise LinkDown when the session is lost; never return otherwise. Safe to cancel."""


class CloudLink(Protocol):
    """The way to the hub."""

    def session(self) -> AbstractAsyncContextManager[CloudSession]:
        """Enter: returns when the hub has accepted the connection, or raises LinkDown.

        Leave: closes within a bounded time and kills what does not close; never raises for a dead link.
        """

    async def close(self) -> None:
        """Release every process and file descriptor, within a bounded time."""


CommandHandler = Callable[[Command], Awaitable[None]]
