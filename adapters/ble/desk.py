"""From a whole payload to the intake's verdict: reserve, submit, and wait where the device cannot send again.

COMMITTED is said only after ``intake.submit`` returned: on disk. A device that gave an id keeps its picture and is
told LATER at once; one that cannot send the same again (most cameras) has its picture held here, under one minted id
for all tries, so that a commit whose answer was late is recognised.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from adapters.ble.contract import Complete, ContentKind, Verdict
from adapters.ble.exif_orientation import oriented
from gateway.errors import PayloadTooLarge, ReadingInvalid, Rejected, RequestInvalid, Unavailable
from gateway.identifiers import submission_id_checked
from gateway.messages import Image, Readings, Refusal, Submission, Transport
from gateway.ports import Clock, Intake, Meter
from gateway.readings import parse_readings
from gateway.settings import LimitsSettings

log = structlog.get_logger(__name__)

# How long a picture of a device that cannot send it again is held while the intake says later. A full outbox may last
# for days: then the picture is counted as lost and the next one is taken.
HOLD_MAX_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict, and when to try again if it is LATER."""

    verdict: Verdict
    retry_after_s: float = 0.0


class Desk:
    """One for all devices."""

    def __init__(
        self,
        *,
        intake: Intake,
        limits: LimitsSettings,
        clock: Clock,
        meter: Meter,
        mint_id: Callable[[], str],
        hold_max_s: float = HOLD_MAX_S,
    ) -> None:
        self._intake = intake
        self._limits = limits
        self._clock = clock
        self._meter = meter
        self._mint_id = mint_id
        self._hold_max_s = hold_max_s

    async def judge(self, device_id: str, complete: Complete) -> Judgement:
        """Return how it ended. Cancelling leaves it undecided: then nothing must be told to the device."""
        try:
            submission = self._submission(device_id, complete)
        except Rejected as error:
            await self._refuse(device_id, complete, error)
            return Judgement(verdict=Verdict.REFUSED)
        give_up_at = self._clock.monotonic() + (self._hold_max_s if complete.submission_id is None else 0.0)
        return await self._submit_until(submission, give_up_at)

    async def submit_reading(self, device_id: str, readings: Readings) -> Verdict:
        """Submit what a sensor said by itself. There is nobody to tell: LATER means that this one is lost."""
        submission = Submission(device_id=device_id, transport=Transport.BLE, payload=readings)
        return (await self._submit_until(submission, self._clock.monotonic())).verdict

    async def _submit_until(self, submission: Submission, give_up_at: float) -> Judgement:
        while True:
            try:
                await self._submit(submission)
            except Rejected:
                return Judgement(verdict=Verdict.REFUSED)
            except Unavailable as error:
                if self._clock.monotonic() + error.retry_after_s > give_up_at:
                    return Judgement(verdict=Verdict.LATER, retry_after_s=error.retry_after_s)
                await asyncio.sleep(error.retry_after_s)
            else:
                return Judgement(verdict=Verdict.COMMITTED)

    async def _submit(self, submission: Submission) -> None:
        try:
            reservation = self._intake.reserve(len(submission.payload.data))
        except Unavailable as error:
            # submit() counts its own.
            self._meter.count("gateway_unavailable_total", transport=Transport.BLE, reason=error.reason)
            raise
        with contextlib.ExitStack() as stack:
            stack.callback(reservation.release)
            await self._intake.submit(submission)

    def _submission(self, device_id: str, complete: Complete) -> Submission:
        given = complete.submission_id
        return Submission(
            device_id=device_id,
            transport=Transport.BLE,
            payload=self._image(complete) if complete.kind is ContentKind.IMAGE else self._readings(complete),
            submission_id=self._mint_id() if given is None else submission_id_checked(given),
        )

    def _image(self, complete: Complete) -> Image:
        if not complete.payload:
            raise RequestInvalid("the picture has no bytes")
        if len(complete.payload) > self._limits.image_bytes_max:
            raise PayloadTooLarge(
                f"{len(complete.payload)} bytes exceed limits.image_bytes_max = {self._limits.image_bytes_max}"
            )
        return Image(data=oriented(complete.payload, complete.orientation))

    def _readings(self, complete: Complete) -> Readings:
        if len(complete.payload) > self._limits.reading_bytes_max:
            raise ReadingInvalid(f"{len(complete.payload)} bytes exceed limits.reading_bytes_max")
        return parse_readings(complete.payload, content_type="", now=self._clock.now())

    async def _refuse(self, device_id: str, complete: Complete, error: Rejected) -> None:
        await self._intake.refuse(
            Refusal(
                device_id=device_id,
                transport=Transport.BLE,
                refused_at=self._clock.now(),
                reason=error.reason,
                detail=error.detail,
                payload_bytes=len(complete.payload),
            )
        )
