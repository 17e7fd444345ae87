"""From a PUBLISH to an outcome, the same for both ways: topic → payload → intake → what the device is told.

What is refused here is noted through ``intake.refuse``; what the intake refuses, it notes itself. A retained message
is a message like any other: whether a broker's copy of one is new is for the broker client to know.

The device's own id, in this order: a level of the topic, MQTT 5's user property ``id``, a field of the JSON around a
picture or the header of a chunk. Readings are not searched for one: an ``id`` in them is as a rule the sensor's name,
and two equal readings would then pass for one.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from adapters.mqtt import replies
from adapters.mqtt.chunk_desk import ChunkDesk
from adapters.mqtt.chunks import parse_chunk
from adapters.mqtt.contract import Accepted, Inbound, Later, Outcome, Refused
from adapters.mqtt.payloads import check_size, picture_fields, read_picture
from adapters.mqtt.refusals import PayloadEmpty
from adapters.mqtt.submitter import Submitter
from adapters.mqtt.topics import Content, Route, TopicTable, results_topic
from gateway.errors import Rejected
from gateway.identifiers import submission_id_checked
from gateway.messages import Image, Submission, Transport
from gateway.ports import Clock, Intake, Meter
from gateway.readings import parse_readings
from gateway.settings import LimitsSettings, MqttSettings

# The name of MQTT 5's user property that carries the device's own id.
ID_PROPERTY = "id"
# Above this, decoding takes milliseconds on a Pi: it leaves the event loop then.
DECODE_INLINE_BYTES_MAX = 256 * 1024


class MqttIngest:
    """Implements :class:`~adapters.mqtt.contract.Ingest`."""

    def __init__(
        self, *, intake: Intake, settings: MqttSettings, limits: LimitsSettings, clock: Clock, meter: Meter
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._topics = TopicTable(settings.topics)
        self._fields = picture_fields(settings)
        self._submitter = Submitter(intake=intake, clock=clock, meter=meter)
        self._chunks = ChunkDesk(
            settings=settings.chunks,
            picture_bytes_max=limits.image_bytes_max,
            submitter=self._submitter,
            clock=clock,
            meter=meter,
        )

    async def take(self, inbound: Inbound) -> Outcome:
        """Return when the outcome is decided: Accepted with a receipt means on disk."""
        device_id = inbound.device_id
        try:
            route = self._topics.route(inbound.topic, device_id=device_id)
            device_id = route.device_id
            return await self._take(inbound, route)
        except Rejected as error:
            return await self._submitter.refuse(error, device_id=device_id, payload=inbound.payload)

    async def refuse(self, inbound: Inbound, error: Rejected, *, payload_bytes: int) -> Refused:
        """Return when a refusal that the transport itself makes, of a payload that it did not keep, is noted."""
        device_id = inbound.device_id
        with contextlib.suppress(Rejected):  # a topic that names nobody: then the login's device is told, if any
            device_id = self._topics.route(inbound.topic, device_id=device_id).device_id
        return await self._submitter.note(error, device_id=device_id, payload_sha256=None, payload_bytes=payload_bytes)

    def reply(self, inbound: Inbound, outcome: Outcome) -> tuple[str, bytes] | None:
        """Return (topic, payload) for the device's results topic, or None when there is nothing or nobody to tell."""
        if isinstance(outcome, Later) or outcome.device_id is None:
            return None
        body = self._body(inbound, outcome, outcome.device_id)
        return None if body is None else (results_topic(outcome.device_id), body)

    def notices(self) -> Sequence[tuple[str, bytes]]:
        """Return (topic, payload) of what devices must hear unasked; to be called every second or so."""
        return self._chunks.notices()

    async def _take(self, inbound: Inbound, route: Route) -> Outcome:
        self._check(inbound, route)
        submission_id = _id_around(inbound, route)
        if route.content is Content.CHUNK:
            return await self._chunks.take(inbound, device_id=route.device_id, submission_id=submission_id)

        async def prepared() -> Submission:
            read = self._reading if route.content is Content.READINGS else self._picture
            return await read(inbound, route.device_id, submission_id)

        return await self._submitter.submit(len(inbound.payload), prepared)

    def _check(self, inbound: Inbound, route: Route) -> None:
        """Refuse what need not be looked at, before a place in the intake is asked for."""
        if not inbound.payload:
            raise PayloadEmpty("the message has no payload")
        if route.content is Content.READINGS:
            check_size(inbound.payload, self._limits.reading_bytes_max, "limits.reading_bytes_max")
        else:
            check_size(inbound.payload, self._limits.image_bytes_max, "limits.image_bytes_max")

    async def _picture(self, inbound: Inbound, device_id: str, submission_id: str | None) -> Submission:
        if len(inbound.payload) <= DECODE_INLINE_BYTES_MAX:
            picture = read_picture(inbound.payload, self._fields)
        else:
            picture = await asyncio.to_thread(read_picture, inbound.payload, self._fields)
        own_id = submission_id or picture.submission_id
        return Submission(
            device_id=device_id,
            transport=Transport.MQTT,
            payload=Image(data=picture.data),
            submission_id=own_id,
            captured_at=picture.captured_at,
            delivery=None if own_id is not None else self._submitter.delivery(inbound),
        )

    async def _reading(self, inbound: Inbound, device_id: str, submission_id: str | None) -> Submission:
        return Submission(
            device_id=device_id,
            transport=Transport.MQTT,
            payload=parse_readings(inbound.payload, content_type="", now=self._clock.now()),
            submission_id=submission_id,
            delivery=None if submission_id is not None else self._submitter.delivery(inbound),
        )

    def _body(self, inbound: Inbound, outcome: Accepted | Refused, device_id: str) -> bytes | None:
        if isinstance(outcome, Refused):
            return replies.refused(outcome, topic=inbound.topic, submission_id=self._id_told(inbound))
        if outcome.receipt is not None:
            return replies.accepted(outcome.receipt, topic=inbound.topic)
        return self._chunks.answer(inbound, device_id=device_id)

    def _id_told(self, inbound: Inbound) -> str | None:
        """Return the device's id of a refused message, as far as it is known without reading all of the payload."""
        try:
            route = self._topics.route(inbound.topic, device_id=inbound.device_id)
            around = _id_around(inbound, route)
            if around is None and route.content is Content.CHUNK:
                return str(parse_chunk(inbound.payload).whole.picture_id)
        except Rejected:
            return None
        return around


def _id_around(inbound: Inbound, route: Route) -> str | None:
    given = inbound.user_properties.get(ID_PROPERTY)
    return route.submission_id or (None if given is None else submission_id_checked(given))
