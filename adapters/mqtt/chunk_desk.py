"""Where chunks become pictures: takes chunks, submits what is complete, tells devices what is missing or was dropped.

An acknowledged chunk that does not complete its picture is held in memory, no more; the acknowledgement of the one
that does means that the picture is on disk.
"""

from collections.abc import Sequence

from adapters.mqtt import replies
from adapters.mqtt.chunks import Chunk, Complete, PartialPictures, PictureKey, parse_chunk
from adapters.mqtt.contract import Accepted, Inbound, Later, Outcome, Refused
from adapters.mqtt.submitter import Submitter
from adapters.mqtt.topics import results_topic
from gateway.messages import Image, Submission, Transport
from gateway.ports import Clock, Meter
from gateway.settings import MqttChunksSettings


class ChunkDesk:
    """The unfinished pictures of all devices, and what became of the last finished ones."""

    def __init__(
        self,
        *,
        settings: MqttChunksSettings,
        picture_bytes_max: int,
        submitter: Submitter,
        clock: Clock,
        meter: Meter,
    ) -> None:
        self._partials: PartialPictures[bytes] = PartialPictures(
            timeout_s=settings.timeout_s,
            bytes_max=settings.partial_bytes_max,
            partials_max=settings.partials_max,
            picture_bytes_max=picture_bytes_max,
        )
        self._submitter = submitter
        self._clock = clock
        self._meter = meter

    async def take(self, inbound: Inbound, *, device_id: str, submission_id: str | None) -> Outcome:
        """Take one chunk; raises Rejected for one that can't be used. Chunks stay until their picture's end is final.

        The picture's id in the header is the submission id, unless topic or property give one.
        """
        chunk = parse_chunk(inbound.payload)
        key = PictureKey(device_id=device_id, whole=chunk.whole)
        if self._partials.settled(key, self._clock.monotonic()) is not None:
            return Accepted(device_id=device_id, receipt=None)
        try:
            progress = self._partials.add(key, chunk, self._clock.monotonic())
        finally:
            self._measure()
        if not isinstance(progress, Complete):
            return Accepted(device_id=device_id, receipt=None)
        submission = Submission(
            device_id=device_id,
            transport=Transport.MQTT,
            payload=Image(data=progress.picture),
            submission_id=submission_id or str(key.whole.picture_id),
        )
        return await self._submit(key, submission, inbound)

    async def _submit(self, key: PictureKey, submission: Submission, inbound: Inbound) -> Outcome:
        async def prepared() -> Submission:
            return submission

        outcome = await self._submitter.submit(len(submission.payload.data), prepared)
        if not isinstance(outcome, Later):
            body = _final(outcome, inbound, submission.submission_id)
            self._partials.settle(key, body, self._clock.monotonic())
            self._count("committed" if isinstance(outcome, Accepted) else "refused")
            self._measure()
        return outcome

    def answer(self, inbound: Inbound, *, device_id: str) -> bytes | None:
        """Return what a device is told after a chunk that did not complete its picture; None for nothing.

        A chunk of a finished picture was sent because the result was missed: it is told again. A question is answered.
        """
        chunk: Chunk = parse_chunk(inbound.payload)
        key = PictureKey(device_id=device_id, whole=chunk.whole)
        known = self._partials.settled(key, self._clock.monotonic())
        if known is not None or not chunk.is_question:
            return known
        return replies.incomplete(key, self._partials.missing(key), topic=inbound.topic)

    def notices(self) -> Sequence[tuple[str, bytes]]:
        """Return what must be told of pictures that were dropped since the last call."""
        self._partials.expire(self._clock.monotonic())
        dropped = self._partials.take_dropped()
        for notice in dropped:
            self._count(notice.reason)
        if dropped:
            self._measure()
        return [(results_topic(notice.key.device_id), replies.dropped(notice)) for notice in dropped]

    def _count(self, outcome: str) -> None:
        self._meter.count("gateway_mqtt_chunked_pictures_total", outcome=outcome)

    def _measure(self) -> None:
        self._meter.level("gateway_mqtt_partial_pictures", len(self._partials))
        self._meter.level("gateway_mqtt_partial_bytes", self._partials.bytes_held)


def _final(outcome: Accepted | Refused, inbound: Inbound, submission_id: str | None) -> bytes:
    if isinstance(outcome, Refused):
        return replies.refused(outcome, topic=inbound.topic, submission_id=submission_id)
    assert outcome.receipt is not None
    return replies.accepted(outcome.receipt, topic=inbound.topic)
