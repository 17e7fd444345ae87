"""Sends what the outbox holds to the hub: never loses, never wedges.

The outbox is the only queue. A row leaves it only after the hub acknowledged
its message; an error says nothing on whether a message arrived, so it is sent
again and the cloud dedupes. Nothing about what is in flight is stored.

A session is used once. Whatever ends it (the link, a send that takes too long,
silence while something is in flight) the answer is the same: close, wait with
full jitter, open a fresh one, begin with the oldest. The wait grows until an
acknowledgement comes, not until a connect succeeds: a hub that accepts and
then drops must not be hammered. The session stays open when there is nothing
to send, for cloud-to-device messages and so that the cloud sees the gateway.

What is too large, not encodable, refused, or proven to break the link becomes
a dead letter, and its tombstone tells the cloud (forwarding/suspicion.py).
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime

import structlog

from gateway.cloud.envelope import message_bytes
from gateway.errors import CloudError, LinkDown, MessageRefused, Unavailable
from gateway.forwarding.allowance import LOOK_EVERY_S, Allowance, Rest
from gateway.forwarding.backlog import Backlog
from gateway.forwarding.batch import Batch
from gateway.forwarding.dispatch import Dispatch, FreshSessionWanted
from gateway.forwarding.flight import Flight
from gateway.forwarding.lanes import DrainOrder
from gateway.forwarding.marks import Marks
from gateway.forwarding.status import ForwarderStatus, UplinkState
from gateway.forwarding.suspicion import Suspicion
from gateway.ports import Clock, CloudLink, CloudSession, CommitSignal, Meter, PendingQueue
from gateway.retry import Backoff, TokenBucket
from gateway.settings import CloudSettings

log = structlog.get_logger(__name__)

# The link has these deadlines itself; ours are the second net and come a little later. That of a connect leaves room
# for the start of the SDK's process (child_process.START_TIMEOUT_S): cut short each time, it would never be up on a
# board that is slow or busy.
CONNECT_GRACE_S = 62.0
SILENCE_GRACE_S = 1.0
SEND_GRACE_S = 3.0
# Facts: an SDK client that does not shut down within 5 s never will; 1 s more to kill it.
CLOSE_TIMEOUT_S = 6.0
WATCH_EVERY_S = 1.0
# A disk that can't be read now: the session stays open meanwhile.
READ_RETRY_S = 5.0
BREAKS_THE_LINK = "breaks_the_link"


class UplinkRests(CloudError):
    """Not now: quiet hours, or the day's bytes are spent."""


class Forwarder:
    """One uplink. ``await run()`` for ever; cancelling stops it promptly and leaves what is in flight pending."""

    def __init__(
        self,
        *,
        queue: PendingQueue,
        signal: CommitSignal,
        link: CloudLink,
        settings: CloudSettings,
        gateway_id: str,
        clock: Clock,
        meter: Meter,
        rng: random.Random,
        allowance: Allowance | None = None,
        on_state: Callable[[ForwarderStatus], None] | None = None,
    ) -> None:
        self._queue = queue
        self._signal = signal
        self._link = link
        self._settings = settings
        self._gateway_id = gateway_id
        self._clock = clock
        self._meter = meter
        self._rng = rng
        self._allowance = allowance
        self._on_state = on_state
        self._backoff = Backoff(initial_s=settings.backoff_initial_s, max_s=settings.backoff_max_s)
        self._bucket = TokenBucket.full(rate_per_s=settings.messages_per_s_max, now_s=clock.monotonic())
        self._state = UplinkState.DISCONNECTED
        self._reason = ""
        self._logged_reason = ""
        self._since = clock.now()
        self._last_acknowledged_at: datetime | None = None
        self._next_attempt_at_s: float | None = None

    @property
    def status(self) -> ForwarderStatus:
        """Return where the uplink stands now."""
        at_s = self._next_attempt_at_s
        return ForwarderStatus(
            state=self._state,
            reason=self._reason,
            since=self._since,
            last_acknowledged_at=self._last_acknowledged_at,
            attempts=self._backoff.attempts,
            next_attempt_in_s=None if at_s is None else max(0.0, at_s - self._clock.monotonic()),
        )

    async def run(self) -> None:
        """Forward until cancelled. Raises an ExceptionGroup of what is not the cloud's doing; may be run again then."""
        self._begin()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen(), name="forwarder-signal")
                tasks.create_task(self._marks.run(), name="forwarder-marks")
                tasks.create_task(self._connect_for_ever(), name="forwarder-sessions")
        finally:
            self._enter(UplinkState.STOPPED, "stopped")

    def reread(self) -> None:
        """Read again what was read and not yet sent: the clock was set, and times are told better now."""
        if self._state is not UplinkState.DISCONNECTED:
            self._backlog.start_over(())
            self._dispatch.poke()

    def _begin(self) -> None:
        """Start from what the outbox says: nothing else is remembered."""
        self._suspicion = Suspicion()
        self._backlog = Backlog(
            queue=self._queue,
            gateway_id=self._gateway_id,
            clock=self._clock,
            on_unfit=self._bury,
            order=DrainOrder(self._settings.drain_order),
        )
        self._marks = Marks(queue=self._queue, meter=self._meter, rng=self._rng, on_marked=self._backlog.release)
        self._dispatch = Dispatch(
            backlog=self._backlog, suspicion=self._suspicion, settings=self._settings, clock=self._clock
        )
        self._flight = Flight()
        self._sent_in_session = 0
        self._acknowledged_in_drain = 0

    async def _listen(self) -> None:
        while True:
            await self._signal.wait_for_work()
            self._dispatch.poke()

    # --- sessions ---

    async def _connect_for_ever(self) -> None:
        if self._allowance is not None:
            await self._allowance.restore()
        while True:
            await self._until_allowed()
            ended = await self._one_session()
            self._meter.count("gateway_cloud_sessions_total", 1, reason=ended.reason)
            if not isinstance(ended, FreshSessionWanted | UplinkRests):
                await self._back_off(ended)

    async def _until_allowed(self) -> None:
        """Return when the uplink may be used: not in quiet hours, and with bytes left."""
        while (rest := self._rest()) is not None:
            if (self._state, self._reason) != (UplinkState.RESTING, rest.reason):
                self._enter(UplinkState.RESTING, rest.reason)
                log.info("cloud_rests", reason=rest.reason, for_s=round(rest.for_s))
            await asyncio.sleep(min(rest.for_s, LOOK_EVERY_S))

    def _rest(self) -> Rest | None:
        return None if self._allowance is None else self._allowance.rest()

    async def _one_session(self) -> CloudError:
        """Return why the session ended or could not begin."""
        self._enter(UplinkState.CONNECTING, self._reason)
        stack = AsyncExitStack()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s + CONNECT_GRACE_S):
                session = await stack.enter_async_context(self._link.session())
        except TimeoutError:
            return LinkDown("connect_timeout", f"no session within {self._settings.connect_timeout_s} s")
        except LinkDown as error:
            return error
        try:
            return await self._use(session)
        finally:
            self._after_session()
            await self._close(stack)

    async def _use(self, session: CloudSession) -> CloudError:
        ended: list[CloudError] = []
        self._enter(UplinkState.CONNECTED, "")
        self._meter.level("gateway_cloud_connected", 1)
        self._logged_reason = ""
        log.info("cloud_connected")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(session.lost(), name="forwarder-session")
                tasks.create_task(self._watch_silence(), name="forwarder-watchdog")
                tasks.create_task(self._watch_rest(), name="forwarder-rest")
                # In the body, not as a task: then the count of cancellations below is ours alone.
                await self._send_for_ever(session, tasks)
        except* (LinkDown, FreshSessionWanted, UplinkRests) as errors:
            ended += _leaves(errors)
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # Python 3.11 and 3.12: a TaskGroup whose child failed at the same moment swallows our cancellation.
            raise asyncio.CancelledError
        return ended[0]

    def _after_session(self) -> None:
        """Collect what was in flight: it is pending, and accused."""
        lost = self._flight.batches()
        self._meter.level("gateway_cloud_connected", 0)
        self._meter.level("gateway_cloud_acknowledgement_age_seconds", 0)
        if lost:
            self._meter.count("gateway_cloud_messages_total", len(lost), outcome="lost")
        is_first = self._sent_in_session == len(lost)
        poison = self._suspicion.lost([batch.sequences for batch in lost], is_first_of_session=is_first)
        self._backlog.start_over(lost)
        self._flight = Flight()
        self._sent_in_session = 0
        if poison is not None:
            self._bury(poison, BREAKS_THE_LINK)

    async def _close(self, stack: AsyncExitStack) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await stack.aclose()
        except TimeoutError:
            log.warning("cloud_close_abandoned", after_s=CLOSE_TIMEOUT_S)

    async def _back_off(self, ended: CloudError) -> None:
        self._backoff = self._backoff.failed()
        wait_s = self._backoff.wait_s(self._rng.random())
        self._log_lost(ended, wait_s)
        self._next_attempt_at_s = self._clock.monotonic() + wait_s
        self._enter(UplinkState.BACKING_OFF, ended.reason)
        self._meter.level("gateway_cloud_backoff_seconds", wait_s)
        try:
            await asyncio.sleep(wait_s)
        finally:
            self._next_attempt_at_s = None
            self._meter.level("gateway_cloud_backoff_seconds", 0)

    def _log_lost(self, ended: CloudError, wait_s: float) -> None:
        """Log a loss once per reason: an outage of a month is not a line a minute."""
        write = log.debug if ended.reason == self._logged_reason else log.warning
        self._logged_reason = ended.reason
        write("cloud_lost", reason=ended.reason, detail=ended.detail, retry_in_s=round(wait_s, 1))

    # --- sending ---

    async def _send_for_ever(self, session: CloudSession, tasks: asyncio.TaskGroup) -> None:
        while True:
            window = self._settings.window
            while len(self._flight) >= window and await self._dispatch.read_ahead(window):
                pass
            await self._flight.room(1 if self._suspicion.is_cautious else window)
            await self._marks.room()
            await asyncio.sleep(self._bucket.wait_s(self._clock.monotonic()))
            batch = await self._next_batch()
            if self._rest() is not None:
                self._backlog.put_back(batch)
                await asyncio.Event().wait()  # _watch_rest ends the session once what flies has landed
            if self._allowance is not None:
                await self._allowance.spend(message_bytes(batch.message))
            now_s = self._clock.monotonic()
            self._bucket = self._bucket.spent(now_s)
            self._flight.launch(batch, now_s=now_s)
            self._sent_in_session += 1
            self._meter.count("gateway_cloud_messages_sent_total", 1, lane=batch.lane or "tombstones")
            tasks.create_task(self._send(session, batch), name="forwarder-send")

    async def _next_batch(self) -> Batch:
        while True:
            try:
                return await self._dispatch.next_batch(is_session_fresh=self._sent_in_session == 0)
            except Unavailable as error:
                log.warning("outbox_unreadable", detail=error.detail, retry_in_s=READ_RETRY_S)
            await asyncio.sleep(READ_RETRY_S)
            self._dispatch.poke()

    async def _send(self, session: CloudSession, batch: Batch) -> None:
        try:
            async with asyncio.timeout(self._settings.send_timeout_s + SEND_GRACE_S):
                await session.send(batch.message)
        except TimeoutError as error:
            raise LinkDown("send_timeout", f"no answer within {self._settings.send_timeout_s} s") from error
        except MessageRefused as error:
            self._refused(batch, error)
        else:
            self._acknowledged(batch)

    def _acknowledged(self, batch: Batch) -> None:
        self._flight.land(batch, now_s=self._clock.monotonic())
        self._marks.delivered(batch)
        self._suspicion.acknowledged(batch.sequences)
        self._backoff = self._backoff.succeeded()
        self._last_acknowledged_at = self._clock.now()
        self._meter.count("gateway_cloud_messages_total", 1, outcome="acknowledged")
        self._note_drained(len(batch.events))

    def _note_drained(self, event_count: int) -> None:
        began_s = self._dispatch.drain_began_s
        if began_s is None:
            return
        self._acknowledged_in_drain += event_count
        if self._backlog.exhausted and self._backlog.is_empty and not len(self._flight):
            seconds = round(self._clock.monotonic() - began_s, 1)
            log.info("cloud_backlog_drained", events=self._acknowledged_in_drain, seconds=seconds)
            self._dispatch.drain_began_s = None
            self._acknowledged_in_drain = 0

    def _refused(self, batch: Batch, error: MessageRefused) -> None:
        self._flight.land(batch, now_s=self._clock.monotonic())
        self._meter.count("gateway_cloud_messages_total", 1, outcome="refused")
        if self._dispatch.split(batch):
            log.debug("cloud_batch_split", events=len(batch.events), reason=error.reason)
        elif batch.events:
            self._bury(batch.events[0].sequence, error.reason)
        else:
            # It stays claimed, so it is tried again after a restart: a tombstone can't become a dead letter.
            log.error("tombstone_refused", tombstone_id=batch.tombstones[0].tombstone_id, reason=error.reason)

    def _bury(self, sequence: int, reason: str) -> None:
        self._backlog.hold(sequence)
        self._suspicion.forget((sequence,))
        self._marks.dead(sequence, reason)

    async def _watch_rest(self) -> None:
        """Raise UplinkRests when the uplink is to rest and nothing is in flight."""
        while True:
            rest = self._rest()
            if rest is not None and not len(self._flight):
                raise UplinkRests(rest.reason)
            await asyncio.sleep(WATCH_EVERY_S)

    async def _watch_silence(self) -> None:
        """Raise LinkDown when something is in flight and nothing was answered for too long."""
        while True:
            await self._flight.busy()
            silence_s = self._flight.silence_s(self._clock.monotonic())
            self._meter.level("gateway_cloud_acknowledgement_age_seconds", silence_s)
            if silence_s > self._settings.send_timeout_s + SILENCE_GRACE_S:
                raise LinkDown("no_acknowledgement", f"nothing acknowledged for {silence_s:.0f} s")
            await asyncio.sleep(WATCH_EVERY_S)
            if not len(self._flight):
                self._meter.level("gateway_cloud_acknowledgement_age_seconds", 0)

    def _enter(self, state: UplinkState, reason: str) -> None:
        self._state = state
        self._reason = reason
        self._since = self._clock.now()
        if self._on_state is not None:
            self._on_state(self.status)


def _leaves(errors: BaseExceptionGroup[CloudError]) -> list[CloudError]:
    """Return the single errors in a group, whatever its nesting, first come first."""
    found: list[CloudError] = []
    for error in errors.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
