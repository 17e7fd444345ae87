"""One camera for ever: when it is asked, what becomes of its picture, and how it stands.

Nothing is acknowledged to a camera. A picture that the intake can't take now is dropped, and the camera is asked for a
newer one when the intake says. After a restart the first picture is an event even if it was one before: what was last
is remembered in memory only.

A failing camera is asked after 1, 2, 4... seconds, at most ``backoff_max_s``, each with jitter.
"""

import asyncio
import contextlib
import hashlib
import math
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum

import structlog

from adapters.camera_pull.faults import CameraFault, Reason
from adapters.camera_pull.health import CameraHealth
from adapters.camera_pull.places import Places
from adapters.camera_pull.snapshot import Admission, Snapshot
from gateway.errors import Rejected, Unavailable
from gateway.messages import Image, Submission, Transport
from gateway.ports import Clock, Intake, Meter
from gateway.retry import Backoff

log = structlog.get_logger(__name__)

# Cameras of one site must not all be asked in the first second, nor must the first picture be a long time coming.
FIRST_WITHIN_S = 10.0
BACKOFF_INITIAL_S = 1.0
# A camera that holds a place for longer than this, or half of its own time, is slow: it gives the place back, and is
# asked again in the places that are for the slow. 500 kB at 2 Mbit/s.
SLOW_S = 2.0
# What the intake asks of devices (a minute, for a full disk) is long for a camera that is asked each second: a moment's
# trouble must not cost it a minute of pictures (found by the fault matrix). Rarer ones lose a turn at most by it.
NO_ROOM_WAIT_MAX_S = 2.0
# Above this a hash takes milliseconds on a Pi: it leaves the event loop then, as in the intake.
HASH_INLINE_BYTES_MAX = 256 * 1024


class Outcome(StrEnum):
    """What became of a picture that came; a camera that gave none has a Reason."""

    COMMITTED = "committed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a camera is asked. ``interval_s`` 0: only when somebody wants a picture."""

    interval_s: float
    timeout_s: float
    jitter: float
    backoff_max_s: float
    skip_unchanged: bool


@dataclass(slots=True)
class _Last:
    """The last picture that the intake decided on, and one of which it is not known whether it did."""

    sha256: str = ""
    unclear_sha256: str = ""
    unclear_id: str = ""


class PulledCamera:
    """Run it until cancelled. Started again, it knows what it knew."""

    def __init__(
        self,
        *,
        device_id: str,
        snapshot: Snapshot,
        schedule: Schedule,
        places: Places,
        health: CameraHealth,
        intake: Intake,
        clock: Clock,
        meter: Meter,
        mint_id: Callable[[], str],
        rng: random.Random,
    ) -> None:
        self.device_id = device_id
        self._snapshot = snapshot
        self._schedule = schedule
        self._places = places
        self._health = health
        self._intake = intake
        self._clock = clock
        self._meter = meter
        self._mint_id = mint_id
        self._rng = rng
        self._backoff = Backoff(initial_s=BACKOFF_INITIAL_S, max_s=schedule.backoff_max_s)
        self._slow_s = min(SLOW_S, schedule.timeout_s / 2)
        self._is_slow = False
        self._last = _Last()
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[bool]] = []
        self._not_before_s = clock.monotonic()
        self._is_stopping = False
        self.is_handing_in = False

    @property
    def is_backing_off(self) -> bool:
        """Whether it failed, and is not asked again yet."""
        return self._clock.monotonic() < self._not_before_s

    async def run(self) -> None:
        """Ask for pictures until told to stop, or cancelled."""
        self._is_stopping = False
        wait_s = self._first_wait_s()
        while not self._is_stopping:
            await self._rest(wait_s if self._schedule.interval_s else None)
            waiting, self._waiting = self._waiting, []
            started_s = self._clock.monotonic()
            outcome = await self._take(wanted=bool(waiting))
            _tell(waiting, good=outcome in set(Outcome))
            wait_s = self._wait_s(outcome, took_s=self._clock.monotonic() - started_s)

    async def photo(self) -> bool:
        """Ask for a picture now; return whether one that was taken from now on has been handed in."""
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(told)
        self._wanted.set()
        return await told

    def stop(self) -> None:
        """Begin no other picture."""
        self._is_stopping = True

    def _first_wait_s(self) -> float:
        return self._rng.random() * min(self._schedule.interval_s, FIRST_WITHIN_S)

    async def _rest(self, wait_s: float | None) -> None:
        """Wait until it is time, or until somebody wants a picture."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wanted.wait()
        self._wanted.clear()

    def _wait_s(self, outcome: Outcome | Reason | float, *, took_s: float) -> float:
        """Return how long to rest now. Times that a slow camera misses are not made up for."""
        if isinstance(outcome, float):
            return outcome * (1 + self._rng.random())
        if isinstance(outcome, Reason):
            bound_s = self._schedule.backoff_max_s if outcome is Reason.LOGIN_REFUSED else self._backoff.bound_s
            wait_s = bound_s * (0.5 + self._rng.random() / 2)
            self._not_before_s = self._clock.monotonic() + wait_s
            return wait_s
        spread = self._schedule.jitter * (2 * self._rng.random() - 1)
        return max(0.0, self._schedule.interval_s * (1 + spread) - took_s)

    # --- one picture ---

    async def _take(self, *, wanted: bool) -> Outcome | Reason | float:
        """Ask for one picture and hand it in. Return how it ended; seconds to wait when the intake has no room."""
        was_slow = self._is_slow
        try:
            async with AsyncExitStack() as held:
                picture = await self._picture(held)
                outcome = await self._hand_in(picture, wanted=wanted)
        except CameraFault as fault:
            if fault.reason is Reason.TIMED_OUT and self._is_slow and not was_slow:
                return await self._take(wanted=wanted)  # once, now in a place for the slow
            self._failed(fault)
            return fault.reason
        except Unavailable as error:
            self._count(Outcome.UNAVAILABLE)
            log.info("camera_picture_dropped", device_id=self.device_id, reason=error.reason, detail=error.detail)
            return min(error.retry_after_s, max(self._schedule.interval_s, NO_ROOM_WAIT_MAX_S))
        self._count(outcome)
        return outcome

    async def _picture(self, held: AsyncExitStack) -> bytes:
        """Return a picture; ``held`` then holds its place, and its bytes in the intake."""
        asked_s = self._clock.monotonic()
        waited_s = 0.0
        reading_from_s: float | None = None

        async def admit() -> Admission:
            nonlocal reading_from_s, waited_s
            waiting_from_s = self._clock.monotonic()
            await held.enter_async_context(self._places.place(slow=self._is_slow))
            reservation = self._intake.reserve()
            held.callback(reservation.release)
            reading_from_s = self._clock.monotonic()
            waited_s = reading_from_s - waiting_from_s
            return Admission(grow=reservation.grow, within_s=math.inf if self._is_slow else self._slow_s)

        try:
            picture = await self._snapshot.fetch(admit)
        finally:
            now_s = self._clock.monotonic()
            if reading_from_s is not None:
                self._is_slow = now_s - reading_from_s >= self._slow_s
        self._backoff = self._backoff.succeeded()
        self._meter.observe("gateway_camera_pull_seconds", now_s - asked_s - waited_s)
        return picture

    async def _hand_in(self, picture: bytes, *, wanted: bool) -> Outcome:
        sha256 = await _sha256(picture)
        is_repeat = sha256 == self._last.sha256 and self._schedule.skip_unchanged
        self._health.answered(is_news=not is_repeat)
        if is_repeat and not wanted:
            return Outcome.UNCHANGED
        submission_id = self._last.unclear_id if sha256 == self._last.unclear_sha256 else self._mint_id()
        # Should its answer be lost, it may be committed all the same: then the same bytes have the same id again.
        self._last = _Last(sha256=self._last.sha256, unclear_sha256=sha256, unclear_id=submission_id)
        outcome = await self._submitted(submission_id, picture)
        self._last = _Last(sha256=sha256)
        return outcome

    async def _submitted(self, submission_id: str, picture: bytes) -> Outcome:
        self.is_handing_in = True
        try:
            await self._intake.submit(
                Submission(
                    device_id=self.device_id,
                    transport=Transport.CAMERA_PULL,
                    payload=Image(data=picture),
                    submission_id=submission_id,
                )
            )
        except Rejected:
            return Outcome.REFUSED  # noted by the intake; the same bytes would be refused again
        finally:
            self.is_handing_in = False
        return Outcome.COMMITTED

    def _failed(self, fault: CameraFault) -> None:
        self._backoff = self._backoff.failed()
        self._count(fault.reason)
        self._health.failed(fault.reason, fault.detail, attempts=self._backoff.attempts)

    def _count(self, outcome: Outcome | Reason) -> None:
        self._meter.count("gateway_camera_pull_pictures_total", outcome=outcome)


def _tell(waiting: Sequence[asyncio.Future[bool]], *, good: bool) -> None:
    for one in waiting:
        if not one.done():
            one.set_result(good)


async def _sha256(data: bytes) -> str:
    if len(data) <= HASH_INLINE_BYTES_MAX:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
