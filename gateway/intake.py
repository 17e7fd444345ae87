"""The one door for submissions: admit → recognise a redelivery → classify or validate → commit → Receipt.

Invariants: a Receipt exists only for events that are on disk; what raises
stored nothing. Memory is bounded: places and payload bytes are reserved before
a body is read and given back after the answer is decided.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from gateway.crash_journal import CrashJournal
from gateway.errors import (
    DiskUnavailable,
    IntakeFull,
    OutboxFull,
    PayloadTooLarge,
    PoisonPayload,
    Rejected,
    Stopping,
    SubmissionError,
    SubmitTimeout,
    Unavailable,
)
from gateway.giving_way import Unfinished, UnfinishedPlaces
from gateway.messages import (
    ClockState,
    EventDraft,
    EventState,
    Image,
    Kind,
    Readings,
    Receipt,
    Refusal,
    Result,
    Stamp,
    Submission,
)
from gateway.policies import NO_POLICIES, Policies, Policy, is_unsure
from gateway.ports import Classifier, Clock, EventStore, Meter, Timekeeper

log = structlog.get_logger(__name__)

# Above this a hash takes milliseconds on a Pi: it leaves the event loop then.
HASH_INLINE_BYTES_MAX = 256 * 1024
# While the outbox is full or the disk fails, one submission per this time probes it; the others are
# answered before the classifier works for nothing.
STORE_PROBE_S = 1.0
# A store that failed and has not been asked since is reported as an obstacle for this long: a load
# balancer that then sends again finds out whether it still fails.
STORE_TROUBLE_SHOWN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLimits:
    """What the intake may hold at once. ``submit_timeout_s`` is from a complete payload to the receipt."""

    in_flight_max: int
    in_flight_bytes_max: int
    image_bytes_max: int
    reading_bytes_max: int
    submit_timeout_s: float


class _Place:
    """A Reservation of :class:`GatewayIntake`."""

    __slots__ = ("_bytes", "_intake", "_open", "_source")

    def __init__(self, intake: "GatewayIntake", byte_count: int, source: str) -> None:
        self._intake = intake
        self._bytes = byte_count
        self._source = source
        self._open = True

    def grow(self, byte_count: int) -> None:
        self._intake.take(byte_count, self._source)
        self._bytes += byte_count

    def complete(self) -> None:
        self._intake.unfinished.discard(self)

    def release(self) -> None:
        if self._open:
            self._open = False
            self._intake.unfinished.discard(self)
            self._intake.give_back(self._bytes)


class GatewayIntake:
    """The real Intake."""

    def __init__(
        self,
        *,
        store: EventStore,
        classifier: Classifier,
        limits: IntakeLimits,
        journal: CrashJournal,
        is_poison: Callable[[str], bool],
        mint_id: Callable[[], str],
        clock: Clock,
        timekeeper: Timekeeper,
        meter: Meter,
        policies: Policies = NO_POLICIES,
    ) -> None:
        self._store = store
        self._classifier = classifier
        self._limits = limits
        self._journal = journal
        self._is_poison = is_poison
        self._mint_id = mint_id
        self._clock = clock
        self._timekeeper = timekeeper
        self._meter = meter
        self._policies = policies
        self._in_flight = 0
        self._in_flight_bytes = 0
        self.unfinished = UnfinishedPlaces()
        self._accepting = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._store_trouble: Unavailable | None = None
        self._store_probe_at = 0.0

    # --- admission ---

    def open(self) -> None:
        """Accept submissions from now on."""
        self._accepting = True

    def close(self) -> None:
        """Accept nothing new; what holds a place may still submit."""
        self._accepting = False

    async def drained(self) -> None:
        """Return when nothing holds a place."""
        await self._idle.wait()

    def obstacles(self) -> tuple[str, ...]:
        """Return why a submission would be refused now, as slugs."""
        found = [] if self._accepting else ["not_accepting"]
        shown_until = self._store_probe_at + STORE_TROUBLE_SHOWN_S
        if self._store_trouble is not None and self._clock.monotonic() < shown_until:
            found.append(self._store_trouble.reason)
        return tuple(found)

    def reserve(self, byte_count: int = 0, *, source: str = "", give_way: Callable[[], None] | None = None) -> _Place:
        """Take a place and ``byte_count`` bytes, or raise Stopping or IntakeFull."""
        if not self._accepting:
            raise Stopping("the gateway is not accepting submissions now")
        while self._in_flight >= self._limits.in_flight_max:
            if not self._make_room(source):
                raise IntakeFull(
                    f"{self._in_flight} submissions are in flight, the most that limits.in_flight_max allows"
                )
        self.take(byte_count, source)
        self._in_flight += 1
        self._idle.clear()
        self._meter.level("gateway_intake_in_flight", self._in_flight)
        place = _Place(self, byte_count, source)
        if give_way is not None:
            self._note_unfinished(place, source, give_way)
        return place

    def _note_unfinished(self, place: _Place, source: str, give_way: Callable[[], None]) -> None:
        def free() -> None:
            place.release()
            give_way()

        since_s = self._clock.monotonic()
        self.unfinished.add(place, Unfinished(source=source, since_s=since_s, give_way=free))

    def _make_room(self, source: str) -> bool:
        return self.unfinished.make_room_for(source, self._clock.monotonic())

    def take(self, byte_count: int, source: str) -> None:
        """Count payload bytes as held, or raise IntakeFull."""
        while self._in_flight_bytes + byte_count > self._limits.in_flight_bytes_max:
            if not self._make_room(source):
                raise IntakeFull(
                    f"{self._in_flight_bytes} bytes of payload are in flight and {byte_count} more exceed "
                    f"the {self._limits.in_flight_bytes_max} that limits.memory_budget_mb leaves"
                )
        self._in_flight_bytes += byte_count
        self._meter.level("gateway_intake_in_flight_bytes", self._in_flight_bytes)

    def give_back(self, byte_count: int) -> None:
        """End a reservation."""
        self._in_flight -= 1
        self._in_flight_bytes -= byte_count
        self._meter.level("gateway_intake_in_flight", self._in_flight)
        self._meter.level("gateway_intake_in_flight_bytes", self._in_flight_bytes)
        if self._in_flight == 0:
            self._idle.set()

    # --- submission ---

    async def submit(self, submission: Submission) -> Receipt:
        """Return when the submission is on disk; raises Rejected or Unavailable, and then nothing was stored."""
        started = self._clock.monotonic()
        stamp = self._timekeeper.stamp()
        kind = Kind.CLASSIFICATION if isinstance(submission.payload, Image) else Kind.READING
        sha256 = ""
        try:
            sha256 = await _sha256(submission.payload.data)
            async with asyncio.timeout(self._limits.submit_timeout_s):
                receipt = await self._recognise_or_commit(submission, sha256, stamp)
        except TimeoutError as error:
            late = SubmitTimeout(f"no receipt within {self._limits.submit_timeout_s:g} s")
            self._count_failure(submission, kind, late)
            raise late from error
        except SubmissionError as error:
            self._count_failure(submission, kind, error)
            if isinstance(error, Rejected):
                await self.refuse(_refusal(submission, error, sha256, stamp.reading.wall))
            raise
        outcome = "duplicate" if receipt.duplicate else "committed"
        self._count(submission, kind, outcome)
        self._meter.observe(
            "gateway_submit_seconds", self._clock.monotonic() - started, transport=submission.transport, kind=kind
        )
        return receipt

    async def refuse(self, refusal: Refusal) -> None:
        """Note a refusal for the operator. A full disk loses the note, never an event: nothing was acknowledged."""
        log.info(
            "submission_refused",
            device_id=refusal.device_id,
            transport=refusal.transport,
            reason=refusal.reason,
            detail=refusal.detail,
        )
        self._meter.count("gateway_refusals_total", transport=refusal.transport, reason=refusal.reason)
        try:
            await self._store.record_refusal(refusal)
        except DiskUnavailable as error:
            log.warning("refusal_not_noted", reason=error.reason, detail=error.detail)

    async def _recognise_or_commit(self, submission: Submission, sha256: str, stamp: Stamp) -> Receipt:
        if self._is_poison(sha256):
            raise PoisonPayload(f"payload {sha256} was being worked on when the gateway crashed, more than once")
        known = await self._recall(submission, sha256)
        if known is not None:
            return known
        self._refuse_early_while_the_store_fails()
        drafts = await self._drafts(submission, sha256, stamp)
        return await self._commit(drafts)

    async def _recall(self, submission: Submission, sha256: str) -> Receipt | None:
        """Return the first receipt of a redelivery before any work is done for it.

        The commit recognises it too: readings, which cost no work, are only looked up while the store refuses.
        """
        if isinstance(submission.payload, Readings) and self._store_trouble is None:
            return None
        if submission.submission_id is not None:
            return await self._store.recall(submission.device_id, submission.submission_id, sha256)
        if submission.delivery is not None and submission.delivery.repeated:
            return await self._store.recall_delivery(submission.delivery.key, sha256)
        return None

    def _refuse_early_while_the_store_fails(self) -> None:
        trouble = self._store_trouble
        now = self._clock.monotonic()
        if trouble is None:
            return
        if now < self._store_probe_at:
            raise type(trouble)(trouble.detail, hint=trouble.cure, retry_after_s=trouble.retry_after_s)
        self._store_probe_at = now + STORE_PROBE_S

    async def _commit(self, drafts: Sequence[EventDraft]) -> Receipt:
        try:
            receipt = await self._store.commit(drafts)
        except (OutboxFull, DiskUnavailable) as error:
            if self._store_trouble is None:
                log.error("store_refuses", reason=error.reason, detail=error.detail, cure=error.cure)
            self._store_trouble = error
            self._store_probe_at = self._clock.monotonic() + STORE_PROBE_S
            raise
        if self._store_trouble is not None:
            log.info("store_accepts_again", after=self._store_trouble.reason)
            self._store_trouble = None
        log.debug("event_committed", device_id=receipt.device_id, sequence=receipt.sequence, items=len(receipt.items))
        return receipt

    async def _drafts(self, submission: Submission, sha256: str, stamp: Stamp) -> tuple[EventDraft, ...]:
        payload = submission.payload
        submission_id = submission.submission_id or self._mint_id()
        kind = Kind.CLASSIFICATION if isinstance(payload, Image) else Kind.READING
        policy = self._policies.of(submission.device_id, kind, submission.transport, is_notice=submission.is_notice)
        draft = _drafter(submission, submission_id=submission_id, sha256=sha256, stamp=stamp, policy=policy)
        if isinstance(payload, Readings):
            _check_size(payload.data, self._limits.reading_bytes_max, "limits.reading_bytes_max")
            return tuple(draft(reading, n if payload.is_array else None) for n, reading in enumerate(payload.items))
        _check_size(payload.data, self._limits.image_bytes_max, "limits.image_bytes_max")
        with self._journal.working_on(sha256):
            return (draft(await self._classifier.classify(payload), None),)

    def _count(self, submission: Submission, kind: Kind, outcome: str) -> None:
        self._meter.count("gateway_submissions_total", transport=submission.transport, kind=kind, outcome=outcome)

    def _count_failure(self, submission: Submission, kind: Kind, error: SubmissionError) -> None:
        if isinstance(error, Rejected):
            self._count(submission, kind, "rejected")
            return
        self._count(submission, kind, "unavailable")
        self._meter.count("gateway_unavailable_total", transport=submission.transport, reason=error.reason)
        log.info("submission_deferred", device_id=submission.device_id, reason=error.reason, detail=error.detail)


def _drafter(
    submission: Submission, *, submission_id: str, sha256: str, stamp: Stamp, policy: Policy
) -> Callable[[Result, int | None], EventDraft]:
    def draft(result: Result, item: int | None) -> EventDraft:
        return EventDraft(
            submission_id=submission_id,
            item=item,
            device_id=submission.device_id,
            transport=submission.transport,
            received_at=stamp.reading.wall,
            captured_at=submission.captured_at,
            payload_sha256=sha256,
            payload_bytes=len(submission.payload.data),
            result=result,
            on_id_reuse=submission.on_id_reuse,
            delivery=submission.delivery if submission.submission_id is None else None,
            boottime_s=stamp.reading.boottime_s,
            clock=ClockState.SYNCED if stamp.is_synced else ClockState.UNSYNCED,
            priority=policy.priority,
            ttl_s=policy.ttl_s,
            fate=EventState.FILTERED if is_unsure(result, policy.min_probability) else EventState.PENDING,
            on_change=policy.on_change,
            summarise=policy.summarise,
        )

    return draft


async def _sha256(data: bytes) -> str:
    if len(data) <= HASH_INLINE_BYTES_MAX:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())


def _check_size(data: bytes, bytes_max: int, setting: str) -> None:
    if len(data) > bytes_max:
        raise PayloadTooLarge(f"{len(data)} bytes exceed {setting} = {bytes_max}")


def _refusal(submission: Submission, error: Rejected, sha256: str, refused_at: datetime) -> Refusal:
    return Refusal(
        device_id=submission.device_id,
        transport=submission.transport,
        refused_at=refused_at,
        reason=error.reason,
        detail=error.detail,
        payload_sha256=sha256 or None,
        payload_bytes=len(submission.payload.data),
    )
