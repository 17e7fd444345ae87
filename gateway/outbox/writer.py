"""The one thread that writes: everything that waits goes to disk in one transaction, with one sync.

A future resolves only after COMMIT (WAL, synchronous=FULL). A full or failing
disk fails the requests that waited and the thread lives on; damage, or an error
nobody foresaw, ends the thread and with it the process (crash-only).
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

import structlog

from gateway.errors import DiskUnavailable, IntakeFull, OutboxDamaged, OutboxUnusable, Stopping, Unavailable
from gateway.outbox.gathering import PICTURES_MAX, PICTURES_WAIT_S, Pace
from gateway.outbox.holding import SUMMARIES, WINDOWS_PER_STEP, CloseWindows
from gateway.outbox.pruning import Keeping
from gateway.outbox.requests import Prune, Request
from gateway.outbox.store import Store
from gateway.outbox.time_requests import KeepTime
from gateway.outbox.wear import WrittenBytes
from gateway.ports import Clock, Meter

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Above the largest limits.in_flight_max (10,000), so that the intake's own bound is the one that is felt.
WAITING_MAX = 16_384
# From the last fruitless pruning step to the next; while steps bear fruit they follow each other between groups.
PRUNE_EVERY_S = 30.0
# From the start to the first step: what outlived its time while nobody ran must not be sent first, and the start itself
# is not to be slowed down. The uplink takes longer.
FIRST_PRUNE_S = 1.0
# How late the summary of a device that fell silent may be: nothing against the shortest windows that are of use.
WINDOWS_EVERY_S = 5.0
# What a power cut may take of the powered time where nothing came in; 96 small writes a day.
KEEP_TIME_EVERY_S = 900.0
# The kernel is asked how much was written at most so often: it costs more than a commit on a fast disk.
COUNT_WRITES_EVERY_S = 5.0


@dataclass(slots=True, eq=False)
class _Waiting(Generic[T]):
    """A request, who waits for it, and what came of it."""

    request: Request[T]
    future: "asyncio.Future[T]"
    outcome: object = None


class Writer:
    """Runs a Store in its own thread. ``submit`` is for the event loop that ``start`` was called on."""

    def __init__(
        self,
        store: Store,
        *,
        group_max: int,
        keeping: Keeping,
        clock: Clock,
        meter: Meter,
        on_work: Callable[[], None],
    ) -> None:
        self._store = store
        self._group_max = group_max
        self._keeping = keeping
        self._clock = clock
        self._meter = meter
        self._on_work = on_work
        self._queue: queue.SimpleQueue[list[_Waiting[Any]] | None] = queue.SimpleQueue()
        self._admission = threading.Lock()  # nothing may be queued behind the end mark
        self._more_comes: Callable[[], bool] = _never
        self._gathered: list[_Waiting[Any]] = []
        self._gathered_max = min(PICTURES_MAX, group_max)
        self._is_due = False
        self._patience: asyncio.TimerHandle | None = None
        self._stopping = False
        self._started = False
        self._unresolved = 0
        self._group: list[_Waiting[Any]] = []  # in work
        self._left_over: list[_Waiting[Any]] = []  # of what was handed over, for the next group
        self._next_prune_at = 0.0
        self._next_keep_time_at = 0.0
        self._next_windows_at = 0.0
        self._next_count_at = 0.0
        self._pace = Pace()
        self._written = WrittenBytes()
        self._written_unsaved = 0
        self._failure: BaseException | None = None
        self._broken = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="outbox-writer", daemon=True)

    # --- for the event loop ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread; its results go to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._next_prune_at = self._clock.monotonic() + FIRST_PRUNE_S
        self._next_keep_time_at = self._clock.monotonic() + KEEP_TIME_EVERY_S
        self._started = True
        self._thread.start()

    def gather_while(self, more_comes: Callable[[], bool]) -> None:
        """Let requests that can wait do so, for PICTURES_WAIT_S, while ``more_comes`` says that others are behind."""
        self._more_comes = more_comes

    def submit(self, request: Request[T], *, can_wait: bool = False) -> "asyncio.Future[T]":
        """Queue a request. Cancelling the future does not undo it. Raises Unavailable when nothing more is taken."""
        assert self._started, "start() comes first"
        if self._unresolved >= WAITING_MAX:
            raise IntakeFull(f"{self._unresolved} requests wait for the disk")
        waiting = _Waiting(request, self._loop.create_future())
        with self._admission:
            if self._stopping:
                raise Stopping("the outbox is closed")
            self._gathered.append(waiting)
        self._unresolved += 1
        if not can_wait or len(self._gathered) >= self._gathered_max or not self._more_comes():
            if not self._is_due:
                # At the end of this turn of the loop: what is submitted in one turn is one transaction.
                self._is_due = True
                self._loop.call_soon(self._hand_over)
        elif self._patience is None:
            self._patience = self._loop.call_later(PICTURES_WAIT_S, self._hand_over)
        return waiting.future

    def _hand_over(self) -> None:
        """Give what was gathered to the thread: one wake, one transaction."""
        self._is_due = False
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        with self._admission:
            self._queue_gathered()

    def _queue_gathered(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._queue.put(gathered)

    async def failed(self) -> None:
        """Raise what ended the thread; never return otherwise."""
        await self._broken.wait()
        assert self._failure is not None
        raise self._failure

    def _resolve(self, group: Sequence[_Waiting[Any]], work_added: bool) -> None:  # noqa: FBT001  call_soon passes by position
        self._unresolved -= len(group)
        if work_added:
            self._on_work()
        for waiting in group:
            future, outcome = waiting.future, waiting.outcome
            if future.done():  # cancelled: the device is recognised by its id when it sends again
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def fail(self, error: OutboxDamaged) -> None:
        """Let those who await :meth:`failed` hear of damage that somebody else met. From any thread."""
        self._note_damage(error)
        self._failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the gateway ends anyway
            self._loop.call_soon_threadsafe(self._broken.set)

    @property
    def written_bytes(self) -> int:
        """What this process has written to the disk, as far as the kernel tells; a few seconds old."""
        return self._written.total

    # --- for any thread -------------------------------------------------------------------------------

    def stop(self, timeout_s: float) -> bool:
        """Finish what was queued, checkpoint and close. Returns whether that was done in time."""
        with self._admission:
            self._stopping = True
            self._queue_gathered()
            self._queue.put(None)
        if not self._started:
            self._store.close()
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- the thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        with contextlib.ExitStack() as at_end:
            at_end.push(self._end)
            self._written.count()
            self._serve()

    def _serve(self) -> None:
        ended = False
        while not ended:
            ended = self._gather()
            if self._group:
                self._commit(self._group)
                self._group = []
                self._count_written()
            now_s = self._clock.monotonic()
            if not ended and self._store.has_windows and now_s >= self._next_windows_at:
                self._close_windows()
            if not ended and now_s >= self._next_prune_at:
                self._prune()

    def _gather(self) -> bool:
        """Wait for a request or the time to prune; take along what else waits. Returns whether the end mark came."""
        due_at = min(self._next_prune_at, self._next_windows_at if self._store.has_windows else self._next_prune_at)
        wait_s = min(PRUNE_EVERY_S, max(0.0, due_at - self._clock.monotonic()))
        with contextlib.suppress(queue.Empty):
            gathered = self._left_over or self._queue.get(timeout=wait_s)
            began_s = self._clock.monotonic()
            while gathered is not None:
                room = self._group_max - len(self._group)
                self._group += gathered[:room]
                self._left_over = gathered[room:]
                if len(self._group) >= self._group_max:
                    return False
                gathered = self._next(began_s)
            return True
        return False

    def _next(self, began_s: float) -> list[_Waiting[Any]] | None:
        """Return what waits, or comes while the group may still wait for company. Raises queue.Empty."""
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            left_s = began_s + self._pace.wait_s(len(self._group)) - self._clock.monotonic()
            if left_s <= 0:
                raise
        return self._queue.get(timeout=left_s)

    def _commit(self, group: Sequence[_Waiting[Any]]) -> None:
        started = self._clock.monotonic()
        try:
            committed = self._store.transact([waiting.request for waiting in group])
        except DiskUnavailable as error:
            self._fail(group, error)
            return
        self._meter.observe("gateway_outbox_commit_seconds", self._clock.monotonic() - started)
        self._meter.observe("gateway_outbox_commit_group_size", len(group))
        waiting_now = max(0, self._unresolved - len(group))
        self._pace = self._pace.after(sync_s=committed.sync_s, group=len(group), waiting=waiting_now)
        self._count_pruned(committed.pruned)
        self._count_held_back(committed.policies)
        for waiting, outcome in zip(group, committed.outcomes, strict=True):
            waiting.outcome = outcome
        self._post(group, work_added=committed.work_added)

    def _fail(self, group: Sequence[_Waiting[Any]], error: DiskUnavailable) -> None:
        """Refuse what takes space and try the rest alone: marks and commands may still fit into a full file."""
        log.warning("outbox_write_failed", error=str(error), requests=len(group))
        smaller = [waiting for waiting in group if not waiting.request.takes_space]
        if len(smaller) == len(group):
            refused, smaller = smaller, []
        else:
            refused = [waiting for waiting in group if waiting.request.takes_space]
        for waiting in refused:
            waiting.outcome = _for_one(error)
        self._post(refused)
        if smaller:
            self._commit(smaller)

    def _prune(self) -> None:
        requests: list[Request[Any]] = [Prune(keeping=self._keeping, now=self._clock.now())]
        keeps_time = self._clock.monotonic() >= self._next_keep_time_at
        if keeps_time:
            requests.append(KeepTime(written_bytes=self._written_unsaved))
        self._store.ballast.keep()
        try:
            committed = self._store.transact(requests)
            if keeps_time:
                self._time_kept()
            busy = committed.outcomes[0] != 0 or self._store.vacuum_step()
            self._count_pruned(committed.pruned)
        except DiskUnavailable as error:
            log.warning("outbox_prune_failed", error=str(error))
            busy = False
        self._count_written()
        if not busy:
            self._next_prune_at = self._clock.monotonic() + PRUNE_EVERY_S

    def _close_windows(self) -> None:
        """Make summaries of the windows whose devices have fallen silent, and go on at once where many are due."""
        closed = 0
        try:
            committed = self._store.transact([CloseWindows(now=self._clock.now())])
            (closed,) = (outcome for outcome in committed.outcomes if isinstance(outcome, int))
            self._count_held_back(committed.policies)
            self._post((), work_added=committed.work_added)
        except DiskUnavailable as error:
            log.warning("outbox_summaries_wait", error=str(error))
        if closed < WINDOWS_PER_STEP:
            self._next_windows_at = self._clock.monotonic() + WINDOWS_EVERY_S

    def _count_held_back(self, policies: Mapping[str, int]) -> None:
        for what, events in policies.items():
            if what == SUMMARIES:
                self._meter.count("gateway_summaries_total", events)
            else:
                self._meter.count("gateway_policy_held_back_total", events, policy=what)

    def _time_kept(self) -> None:
        self._written_unsaved = 0
        self._next_keep_time_at = self._clock.monotonic() + KEEP_TIME_EVERY_S

    def _count_written(self) -> None:
        if self._clock.monotonic() < self._next_count_at:
            return
        self._next_count_at = self._clock.monotonic() + COUNT_WRITES_EVERY_S
        written = self._written.count()
        self._written_unsaved += written
        if written:
            self._meter.count("gateway_outbox_written_bytes_total", written)
        self._meter.level("gateway_outbox_sync_seconds", self._pace.sync_s)

    def _count_pruned(self, pruned: int) -> None:
        if pruned:
            self._meter.count("gateway_outbox_pruned_total", pruned)

    def _post(self, group: Sequence[_Waiting[Any]], *, work_added: bool = False) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._resolve, group, work_added)

    def _end(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        """Close the file; nobody is left waiting. An error is handed to those who await :meth:`failed`."""
        with self._admission:
            self._stopping = True
            left, self._gathered = [*self._group, *self._left_over, *self._gathered], []
        with contextlib.suppress(queue.Empty):
            while True:
                left += self._queue.get_nowait() or []
        for waiting in left:
            waiting.outcome = Stopping("the outbox has ended; the gateway restarts")
        self._post(left)
        if error is None:
            self._keep_time_last()
        if isinstance(error, OutboxDamaged):
            self._note_damage(error)
        self._store.close()
        if error is not None:
            log.error("outbox_writer_ended", error=repr(error))
            self._failure = error
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._broken.set)
        return True

    def _note_damage(self, error: OutboxDamaged) -> None:
        """Order the next start to set the file aside. A disk that takes no note shows its damage again then."""
        log.error("outbox_damaged", error=str(error))
        try:
            self._store.note_damage(error)
        except OSError as failure:
            log.error("outbox_damage_not_noted", error=str(failure))

    def _keep_time_last(self) -> None:
        """Save age and writes at an orderly end. A disk that fails now costs what a power cut would."""
        self._next_count_at = 0.0
        self._count_written()
        with contextlib.suppress(DiskUnavailable, OutboxUnusable):
            self._store.transact([KeepTime(written_bytes=self._written_unsaved)])


def _never() -> bool:
    return False


def _for_one(error: DiskUnavailable) -> Unavailable:
    """Return the error anew: one exception raised in many tasks would gather all their tracebacks."""
    mine = DiskUnavailable(error.detail)
    mine.__cause__ = error.__cause__
    return mine
