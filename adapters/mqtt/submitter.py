"""The intake as MQTT sees it: outcomes instead of exceptions, and names for deliveries without ids."""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from adapters.mqtt.contract import Accepted, Inbound, Later, Outcome, Refused
from gateway.errors import Rejected, Unavailable
from gateway.messages import Delivery, Refusal, Submission, Transport
from gateway.ports import Clock, Intake, Meter

# Deliveries that were put off and will be tried again; far more than can be held at once.
DEFERRED_MAX = 4096
# A refusal is noted under a name, even if nobody said who sent.
UNKNOWN_DEVICE = "unknown"
# Above this a hash takes milliseconds on a Pi: it leaves the event loop then.
HASH_INLINE_BYTES_MAX = 256 * 1024


class Submitter:
    """Reserves, submits, and turns what comes of it into an outcome."""

    def __init__(self, *, intake: Intake, clock: Clock, meter: Meter) -> None:
        self._intake = intake
        self._clock = clock
        self._meter = meter
        self._deferred: OrderedDict[str, None] = OrderedDict()

    async def submit(self, byte_count: int, prepare: Callable[[], Awaitable[Submission]]) -> Outcome:
        """Hold a place for ``byte_count`` bytes while ``prepare`` makes the submission and the intake commits it.

        What ``prepare`` raises as Rejected passes through, and is the caller's to note.
        """
        try:
            reservation = self._intake.reserve(byte_count)
        except Unavailable as error:
            # submit() counts its own.
            self._meter.count("gateway_unavailable_total", transport=Transport.MQTT, reason=error.reason)
            return _later(error)
        try:
            return await self._committed(await prepare())
        finally:
            reservation.release()

    async def _committed(self, submission: Submission) -> Outcome:
        key = "" if submission.delivery is None else submission.delivery.key
        try:
            receipt = await self._intake.submit(submission)
        except Unavailable as error:
            self._note_deferred(key)
            return _later(error)
        except Rejected as error:
            self._deferred.pop(key, None)
            return _refused(error, submission.device_id)
        self._deferred.pop(key, None)
        return Accepted(device_id=submission.device_id, receipt=receipt)

    def delivery(self, inbound: Inbound) -> Delivery | None:
        """Name the delivery, for a device that gives no ids; None at QoS 0, which is never delivered twice.

        One that was put off here may be on disk all the same (a commit that came too late), so the next try counts as
        repeated.
        """
        if inbound.packet_id is None:
            return None
        key = delivery_key(inbound)
        return Delivery(key=key, repeated=inbound.dup or key in self._deferred)

    async def refuse(self, error: Rejected, *, device_id: str | None, payload: bytes) -> Refused:
        """Note a refusal that was made before the intake saw anything."""
        sha256 = await _sha256(payload) if payload else None
        return await self.note(error, device_id=device_id, payload_sha256=sha256, payload_bytes=len(payload))

    async def note(
        self, error: Rejected, *, device_id: str | None, payload_sha256: str | None, payload_bytes: int
    ) -> Refused:
        """Note a refusal and return what the device is told of it."""
        await self._intake.refuse(
            Refusal(
                device_id=device_id or UNKNOWN_DEVICE,
                transport=Transport.MQTT,
                refused_at=self._clock.now(),
                reason=error.reason,
                detail=error.detail,
                payload_sha256=payload_sha256,
                payload_bytes=payload_bytes,
            )
        )
        return _refused(error, device_id)

    def _note_deferred(self, key: str) -> None:
        if key:
            self._deferred[key] = None
        while len(self._deferred) > DEFERRED_MAX:
            self._deferred.popitem(last=False)


def delivery_key(inbound: Inbound) -> str:
    """Return a short name of (client, session, packet id, topic): 128 bits of SHA-256, as hex."""
    parts = [inbound.client_id, inbound.session, inbound.packet_id, inbound.topic]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _later(error: Unavailable) -> Later:
    return Later(reason=error.reason, detail=error.detail, retry_after_s=error.retry_after_s)


def _refused(error: Rejected, device_id: str | None) -> Refused:
    return Refused(device_id=device_id, reason=error.reason, detail=error.detail, cure=error.cure)


async def _sha256(data: bytes) -> str:
    if len(data) <= HASH_INLINE_BYTES_MAX:
        return hashlib.sha256(data).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
