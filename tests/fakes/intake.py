"""An intake, an event reader, a readiness, a clock and a meter in memory, for the tests of adapters.

FakeIntake keeps the promises of ports.Intake: redeliveries by id and hash, the two answers to a reused id, places and
bytes that are given back. It knows pictures by their first bytes and classifies them by a fixed answer.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from gateway.errors import IntakeFull, NotAnImage, SubmissionIdReused
from gateway.messages import (
    Classification,
    CommittedItem,
    DeviceStatus,
    Event,
    EventState,
    IdReuse,
    Image,
    Kind,
    ModelIdentity,
    Prediction,
    Receipt,
    Refusal,
    Result,
    Submission,
    item_id,
)

EPOCH = "0197a000-0000-7000-8000-000000000001"
MODEL = ModelIdentity(name="fruit", model_sha256="a" * 64, labels_sha256="b" * 64, runtime="fake")
RIPE = Classification(
    predictions=(
        Prediction(label="ripe", probability=0.99956155),
        Prediction(label="unripe", probability=0.00043845),
    ),
    model=MODEL,
    image_format="jpeg",
    image_width=640,
    image_height=480,
    decode_ms=2.5,
    preprocess_ms=0.5,
    inference_ms=7.25,
)
_MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF8", b"RIFF")


@dataclass
class ManualClock:
    """Implements ports.Clock; time moves when a test says so."""

    moment: datetime = datetime(2026, 5, 4, 8, 30, 0, 123456, tzinfo=UTC)
    seconds: float = 0.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.seconds += seconds


@dataclass
class FakeReservation:
    """Counts what is held in its intake."""

    intake: "FakeIntake"
    byte_count: int
    give_way: Callable[[], None] | None = None
    held: bool = True

    def grow(self, byte_count: int) -> None:
        self.intake.take(byte_count)
        self.byte_count += byte_count

    def complete(self) -> None:
        self.give_way = None

    def release(self) -> None:
        if self.held:
            self.held = False
            self.intake.bytes_held -= self.byte_count
            self.intake.places_held -= 1


@dataclass
class FakeIntake:
    """Implements ports.Intake and ports.EventReader.

    ``fault`` is raised by submit, ``closed`` by reserve, if set. ``submit_s`` is how long submit takes.
    """

    clock: ManualClock = field(default_factory=ManualClock)
    bytes_max: int = 64 * 1024 * 1024
    answer: Classification = RIPE
    fault: Exception | None = None
    closed: Exception | None = None
    submissions: list[Submission] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    bytes_held: int = 0
    bytes_held_high: int = 0
    places_held: int = 0
    places_held_high: int = 0
    submit_s: float = 0
    _receipts: dict[tuple[str, str], list[tuple[str, Receipt]]] = field(default_factory=dict)

    @property
    def last(self) -> Submission:
        return self.submissions[-1]

    def take(self, byte_count: int) -> None:
        if self.bytes_held + byte_count > self.bytes_max:
            raise IntakeFull(f"{self.bytes_held} bytes are held")
        self.bytes_held += byte_count
        self.bytes_held_high = max(self.bytes_held_high, self.bytes_held)

    def reserve(
        self, byte_count: int = 0, *, source: str = "", give_way: Callable[[], None] | None = None
    ) -> FakeReservation:
        if self.closed is not None:
            raise self.closed
        self.take(byte_count)
        self.places_held += 1
        self.places_held_high = max(self.places_held_high, self.places_held)
        return FakeReservation(self, byte_count, give_way)

    async def submit(self, submission: Submission) -> Receipt:
        self.submissions.append(submission)
        if self.submit_s:
            await asyncio.sleep(self.submit_s)
        if self.fault is not None:
            raise self.fault
        payload = submission.payload
        if isinstance(payload, Image) and not payload.data.startswith(_MAGICS):
            raise NotAnImage("these bytes are no picture")
        return self._recall(submission) or self._commit(submission)

    async def refuse(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    async def find_event(self, device_id: str, item_id: str) -> Event | None:
        found = (event for event in reversed(self.events) if event.device_id == device_id and event.item_id == item_id)
        return next(found, None)

    def _known(self, submission: Submission) -> list[tuple[str, Receipt]]:
        if submission.submission_id is None:
            return []
        return self._receipts.setdefault((submission.device_id, submission.submission_id), [])

    def _recall(self, submission: Submission) -> Receipt | None:
        known = self._known(submission)
        for sha256, receipt in known:
            if sha256 == _sha256(submission):
                return replace(receipt, duplicate=True)
        if known and submission.on_id_reuse is IdReuse.REJECT:
            raise SubmissionIdReused("this id came with other bytes before")
        return None

    def _commit(self, submission: Submission) -> Receipt:
        payload = submission.payload
        results: tuple[Result, ...] = (self.answer,) if isinstance(payload, Image) else payload.items
        is_array = not isinstance(payload, Image) and payload.is_array
        reused = bool(self._known(submission))
        submission_id = submission.submission_id or f"minted-{len(self.events) + 1}"
        items = tuple(
            self._event(submission, submission_id, index if is_array else None, result, reused)
            for index, result in enumerate(results)
        )
        receipt = Receipt(submission_id=submission_id, device_id=submission.device_id, duplicate=False, items=items)
        self._known(submission).append((_sha256(submission), receipt))
        return receipt

    def _event(
        self, submission: Submission, submission_id: str, item: int | None, result: Result, reused: bool
    ) -> CommittedItem:
        event = Event(
            epoch=EPOCH,
            sequence=len(self.events) + 1,
            submission_id=submission_id,
            item=item,
            device_id=submission.device_id,
            transport=submission.transport,
            kind=Kind.CLASSIFICATION if isinstance(result, Classification) else Kind.READING,
            state=EventState.PENDING,
            received_at=self.clock.now(),
            captured_at=submission.captured_at,
            payload_sha256=_sha256(submission),
            payload_bytes=len(submission.payload.data),
            id_reused=reused,
            result=result,
        )
        self.events.append(event)
        return CommittedItem(
            epoch=EPOCH,
            sequence=event.sequence,
            item_id=item_id(submission_id, item),
            received_at=event.received_at,
            id_reused=reused,
            result=result,
        )


@dataclass
class FakeReadiness:
    """Implements ports.Readiness."""

    slugs: tuple[str, ...] = ()

    def obstacles(self) -> tuple[str, ...]:
        return self.slugs


@dataclass
class RecordingMeter:
    """Implements ports.Meter; ``counted`` sums by name and labels."""

    counted: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        key = (name, tuple(sorted(labels.items())))
        self.counted[key] = self.counted.get(key, 0) + amount

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Observations are not recorded: no test asks for them."""

    def level(self, name: str, value: float, **labels: str) -> None:
        self.levels[name] = value

    def counts(self, name: str, **labels: str) -> float:
        return self.counted.get((name, tuple(sorted(labels.items()))), 0)


@dataclass
class RecordingStatusSink:
    """Implements ports.StatusSink; ``noted`` are (device, state, detail) in order."""

    noted: list[tuple[str, str, str]] = field(default_factory=list)

    def note(self, status: DeviceStatus) -> None:
        self.noted.append((status.device_id, status.state, status.detail))


def _sha256(submission: Submission) -> str:
    return hashlib.sha256(submission.payload.data).hexdigest()
