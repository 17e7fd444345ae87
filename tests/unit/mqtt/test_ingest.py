import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from adapters.mqtt.chunks import split_picture
from adapters.mqtt.contract import Accepted, Inbound, Ingest, Later, Outcome, Refused
from adapters.mqtt.ingest import DECODE_INLINE_BYTES_MAX, MqttIngest
from adapters.mqtt.replies import PREDICTIONS_MAX
from gateway.errors import IntakeFull, OutboxFull, SubmitTimeout
from gateway.messages import Image, Prediction, Readings, Transport
from gateway.settings import LimitsSettings, MqttChunksSettings, MqttSettings
from tests.fakes.intake import RIPE, FakeIntake, RecordingMeter

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256))


class Rig:
    """An ingest on a fake intake."""

    def __init__(self, settings: MqttSettings | None = None, limits: LimitsSettings | None = None) -> None:
        self.intake = FakeIntake()
        self.meter = RecordingMeter()
        self.ingest: Ingest = MqttIngest(
            intake=self.intake,
            settings=settings or MqttSettings(),
            limits=limits or LimitsSettings(),
            clock=self.intake.clock,
            meter=self.meter,
        )

    async def take(self, inbound: Inbound) -> tuple[Outcome, Any]:
        """Return the outcome, and the document of the reply or None."""
        outcome = await self.ingest.take(inbound)
        reply = self.ingest.reply(inbound, outcome)
        return outcome, None if reply is None else json.loads(reply[1])


@pytest.fixture
def rig() -> Rig:
    return Rig()


def publish(
    payload: bytes = JPEG,
    topic: str = "devices/cam-1/images",
    *,
    packet_id: int | None = 7,
    dup: bool = False,
    device_id: str | None = None,
    properties: dict[str, str] | None = None,
) -> Inbound:
    return Inbound(
        client_id="client",
        session="s1",
        topic=topic,
        payload=payload,
        qos=0 if packet_id is None else 1,
        packet_id=packet_id,
        dup=dup,
        device_id=device_id,
        user_properties=properties or {},
    )


def chunked(picture: bytes = JPEG, *, picture_id: int = 42, data_bytes: int = 100) -> list[Inbound]:
    payloads = split_picture(picture, picture_id=picture_id, data_bytes=data_bytes)
    return [publish(payload, "devices/cam-1/chunks", packet_id=n + 1) for n, payload in enumerate(payloads)]


# --- what is taken ------------------------------------------------------------------------------------


async def test_a_picture_is_submitted_and_its_receipt_told_on_the_results_topic(rig: Rig) -> None:
    inbound = publish(topic="devices/cam-1/images/n-1")

    outcome = await rig.ingest.take(inbound)

    assert isinstance(outcome, Accepted)
    assert outcome.receipt is not None
    submission = rig.intake.last
    assert (submission.device_id, submission.transport) == ("cam-1", Transport.MQTT)
    assert (submission.submission_id, submission.payload) == ("n-1", Image(data=JPEG))
    reply = rig.ingest.reply(inbound, outcome)
    assert reply is not None
    assert reply[0] == "devices/cam-1/results"
    assert json.loads(reply[1]) == {
        "status": "accepted",
        "topic": "devices/cam-1/images/n-1",
        "submission_id": "n-1",
        "sequence": 1,
        "epoch": outcome.receipt.items[0].epoch,
        "duplicate": False,
        "received_at": "2026-05-04T08:30:00.123456Z",
        "clock": "unsynced",
        "predictions": [{"label": "ripe", "probability": 0.99956155}, {"label": "unripe", "probability": 0.00043845}],
    }


async def test_readings_are_submitted_together(rig: Rig) -> None:
    outcome, told = await rig.take(publish(b'[{"t": 1}, {"t": 2}]', "devices/s-1/readings"))

    assert isinstance(outcome, Accepted)
    assert isinstance(rig.intake.last.payload, Readings)
    assert [item.values_json for item in rig.intake.last.payload.items] == ['{"t":1}', '{"t":2}']
    assert (told["sequence"], told["sequence_last"], told["items"]) == (1, 2, 2)


async def test_a_large_text_form_is_decoded_beside_the_event_loop(rig: Rig) -> None:
    picture = JPEG + bytes(DECODE_INLINE_BYTES_MAX)

    await rig.ingest.take(publish(json.dumps({"image": base64.b64encode(picture).decode()}).encode()))

    assert rig.intake.last.payload == Image(data=picture)


async def test_a_model_of_many_classes_tells_the_most_likely(rig: Rig) -> None:
    rig.intake.answer = replace(
        RIPE, predictions=tuple(Prediction(label=f"class-{n}", probability=n / 1000) for n in range(1000))
    )

    _, told = await rig.take(publish())

    assert [one["label"] for one in told["predictions"][:2]] == ["class-999", "class-998"]
    assert (len(told["predictions"]), told["predictions_left_out"]) == (PREDICTIONS_MAX, 1000 - PREDICTIONS_MAX)


async def test_places_and_bytes_are_given_back_whatever_happens(rig: Rig) -> None:
    for payload in (JPEG, b"no picture", b'{"image": 5}'):
        await rig.ingest.take(publish(payload))
    rig.intake.fault = OutboxFull("full")
    await rig.ingest.take(publish())

    assert (rig.intake.bytes_held, rig.intake.places_held) == (0, 0)
    assert rig.intake.bytes_held_high == len(JPEG)


# --- ids ----------------------------------------------------------------------------------------------


def with_id(number: object) -> bytes:
    return json.dumps({"image": base64.b64encode(JPEG).decode(), "id": number}).encode()


@pytest.mark.parametrize(
    ("inbound", "submission_id"),
    [
        (publish(with_id("field"), "devices/c/images/topic", properties={"id": "property"}), "topic"),
        (publish(with_id("field"), properties={"id": "property"}), "property"),
        (publish(with_id("field")), "field"),
        (publish(with_id(17)), "17"),
        (publish(b'{"t": 1}', "devices/s/readings", properties={"id": "property"}), "property"),
        (publish(b'{"t": 1, "id": "sensor-7"}', "devices/s/readings"), None),
    ],
)
async def test_topic_before_property_before_field_give_the_id(
    rig: Rig, inbound: Inbound, submission_id: str | None
) -> None:
    await rig.ingest.take(inbound)

    assert rig.intake.last.submission_id == submission_id
    assert (rig.intake.last.delivery is None) == (submission_id is not None)


async def test_without_an_id_the_delivery_is_named_by_client_session_packet_and_topic(rig: Rig) -> None:
    one = publish()
    variants = [
        replace(one, client_id="other"),
        replace(one, session="s2"),
        replace(one, packet_id=8),
        replace(one, topic="devices/cam-2/images"),
        replace(one, payload=JPEG + b"x"),
    ]
    for inbound in (one, *variants):
        await rig.ingest.take(inbound)

    keys = [submission.delivery.key for submission in rig.intake.submissions if submission.delivery]
    assert len(keys) == 6
    assert len(set(keys)) == 5  # the payload is not in the key: its hash is compared
    assert keys[0] == keys[5]
    assert not any(submission.delivery.repeated for submission in rig.intake.submissions if submission.delivery)


async def test_dup_says_that_the_delivery_is_repeated(rig: Rig) -> None:
    await rig.ingest.take(publish(dup=True))

    assert rig.intake.last.delivery is not None
    assert rig.intake.last.delivery.repeated


async def test_at_qos_0_there_is_no_delivery(rig: Rig) -> None:
    await rig.ingest.take(publish(packet_id=None))

    assert rig.intake.last.delivery is None


async def test_a_message_that_was_put_off_counts_as_repeated_until_it_is_settled(rig: Rig) -> None:
    rig.intake.fault = SubmitTimeout("too late, and yet perhaps on disk")
    await rig.ingest.take(publish())
    rig.intake.fault = None

    await rig.ingest.take(publish())
    await rig.ingest.take(publish())

    repeated = [submission.delivery.repeated for submission in rig.intake.submissions if submission.delivery]
    assert repeated == [False, True, False]


async def test_an_authenticated_device_is_believed_before_the_topic(rig: Rig) -> None:
    await rig.ingest.take(publish(topic="devices/somebody-else/images", device_id="cam-9"))

    assert rig.intake.last.device_id == "cam-9"


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inbound", "reason"),
    [
        (publish(b"", "devices/cam-1/images"), "payload_empty"),
        (publish(b"", "devices/cam-1/readings"), "payload_empty"),
        (publish(b"", "devices/cam-1/chunks"), "payload_empty"),
        (publish(b"x" * 2000), "payload_too_large"),
        (publish(b"[" + b"1," * 100 + b"1]", "devices/cam-1/readings"), "payload_too_large"),
        (publish(b'{"t": NaN}', "devices/cam-1/readings"), "reading_invalid"),
        (publish(b"\xff{}", "devices/cam-1/readings"), "reading_invalid"),
        (publish(b'{"image": 5}'), "payload_invalid"),
        (publish(topic="devices/cam-1/images/a b"), "request_invalid"),
        (publish(properties={"id": "a/b"}), "request_invalid"),
        (publish(b"no chunk", "devices/cam-1/chunks"), "chunk_invalid"),
    ],
)
async def test_bad_input_is_refused_noted_and_told(inbound: Inbound, reason: str) -> None:
    rig = Rig(limits=LimitsSettings(image_bytes_max=1024, reading_bytes_max=128))

    outcome, told = await rig.take(inbound)

    assert isinstance(outcome, Refused)
    assert (outcome.reason, outcome.device_id) == (reason, "cam-1" if "a b" not in inbound.topic else None)
    (noted,) = rig.intake.refusals
    assert (noted.reason, noted.transport, noted.payload_bytes) == (reason, Transport.MQTT, len(inbound.payload))
    assert noted.payload_sha256 == (hashlib.sha256(inbound.payload).hexdigest() if inbound.payload else None)
    assert rig.intake.submissions == []
    if outcome.device_id:
        assert (told["status"], told["reason"], told["detail"]) == ("refused", reason, outcome.detail)
        assert told["hint"]


async def test_what_the_intake_refuses_is_told_and_not_noted_twice(rig: Rig) -> None:
    outcome, told = await rig.take(publish(b"no picture", "devices/cam-1/images/9"))

    assert isinstance(outcome, Refused)
    assert (told["reason"], told["submission_id"]) == ("not_an_image", "9")
    assert rig.intake.refusals == []


async def test_an_unknown_topic_is_noted_though_nobody_can_be_told(rig: Rig) -> None:
    outcome, told = await rig.take(publish(topic="frigate/cam/snapshot"))

    assert isinstance(outcome, Refused)
    assert "devices/{device_id}/images" in outcome.cure
    assert told is None
    assert rig.intake.refusals[0].device_id == "unknown"


async def test_an_authenticated_device_is_told_of_an_unknown_topic(rig: Rig) -> None:
    _, told = await rig.take(publish(topic="frigate/cam/snapshot", device_id="cam-1"))

    assert told["reason"] == "topic_unknown"


async def test_replies_stay_small_whatever_the_device_sent(rig: Rig) -> None:
    inbound = publish(topic="x/" * 30_000, device_id="cam-1")

    reply = rig.ingest.reply(inbound, await rig.ingest.take(inbound))

    assert reply is not None
    assert len(reply[1]) < 2500


# --- back-pressure ------------------------------------------------------------------------------------


async def test_an_intake_without_room_means_later_and_is_counted(rig: Rig) -> None:
    rig.intake.closed = IntakeFull("64 in flight")

    outcome, told = await rig.take(publish())

    assert outcome == Later(reason="intake_full", detail="64 in flight", retry_after_s=1.0)
    assert told is None
    assert rig.meter.counts("gateway_unavailable_total", transport="mqtt", reason="intake_full") == 1


async def test_a_full_outbox_means_later(rig: Rig) -> None:
    rig.intake.fault = OutboxFull("full")

    outcome, _ = await rig.take(publish())

    assert isinstance(outcome, Later)
    assert (outcome.reason, outcome.retry_after_s) == ("outbox_full", 60.0)


# --- chunks -------------------------------------------------------------------------------------------


async def test_chunks_are_acknowledged_and_the_last_one_carries_the_receipt(rig: Rig) -> None:
    *earlier, last = chunked()

    for inbound in earlier:
        assert await rig.take(inbound) == (Accepted(device_id="cam-1", receipt=None), None)
    outcome, told = await rig.take(last)

    assert isinstance(outcome, Accepted)
    assert outcome.receipt is not None
    assert rig.intake.last.payload == Image(data=JPEG)
    assert (told["status"], told["submission_id"], told["sequence"]) == ("accepted", "42", 1)
    assert rig.meter.levels["gateway_mqtt_partial_bytes"] == 0
    assert rig.meter.counts("gateway_mqtt_chunked_pictures_total", outcome="committed") == 1


async def test_a_chunk_of_a_committed_picture_is_answered_with_its_result_and_submits_nothing(rig: Rig) -> None:
    for inbound in chunked():
        _, first = await rig.take(inbound)

    outcome, again = await rig.take(chunked()[1])

    assert outcome == Accepted(device_id="cam-1", receipt=None)
    assert again == first
    assert len(rig.intake.submissions) == 1


async def test_the_last_chunk_is_held_while_the_outbox_is_full_and_completes_later(rig: Rig) -> None:
    *earlier, last = chunked()
    for inbound in earlier:
        await rig.ingest.take(inbound)
    rig.intake.fault = OutboxFull("full")
    assert isinstance((await rig.take(last))[0], Later)
    rig.intake.fault = None

    outcome, _ = await rig.take(last)

    assert isinstance(outcome, Accepted)
    assert outcome.receipt is not None


async def test_a_question_is_answered_with_what_is_missing(rig: Rig) -> None:
    first, second, third = chunked()
    await rig.ingest.take(second)
    asking = replace(first, payload=first.payload[:24])

    outcome, told = await rig.take(asking)

    assert outcome == Accepted(device_id="cam-1", receipt=None)
    assert told == {
        "status": "incomplete",
        "topic": "devices/cam-1/chunks",
        "submission_id": "42",
        "count": 3,
        "missing": [[0, 0], [2, 2]],
    }
    await rig.ingest.take(first)
    assert (await rig.take(third))[1]["status"] == "accepted"
    assert (await rig.take(asking))[1]["status"] == "accepted"


async def test_a_picture_in_chunks_that_the_classifier_refuses_is_refused_once(rig: Rig) -> None:
    for inbound in chunked(b"no picture" * 20):
        outcome, told = await rig.take(inbound)

    assert isinstance(outcome, Refused)
    assert told["reason"] == "not_an_image"
    assert (await rig.take(chunked(b"no picture" * 20)[0]))[1] == told
    assert len(rig.intake.submissions) == 1


async def test_a_corrupt_picture_is_refused_noted_and_may_be_sent_again(rig: Rig) -> None:
    *earlier, last = chunked()
    broken = replace(last, payload=last.payload[:-1] + b"?")
    for inbound in earlier:
        await rig.ingest.take(inbound)

    outcome, told = await rig.take(broken)

    assert isinstance(outcome, Refused)
    assert (outcome.reason, told["reason"]) == ("chunks_corrupt", "chunks_corrupt")
    assert [noted.reason for noted in rig.intake.refusals] == ["chunks_corrupt"]
    for inbound in chunked():
        outcome, told = await rig.take(inbound)
    assert told["status"] == "accepted"


async def test_a_device_hears_that_its_unfinished_picture_timed_out() -> None:
    rig = Rig(MqttSettings(chunks=MqttChunksSettings(timeout_s=10)))
    await rig.ingest.take(chunked()[0])
    assert rig.ingest.notices() == []

    rig.intake.clock.advance(10)

    ((topic, body),) = rig.ingest.notices()
    told = json.loads(body)
    assert topic == "devices/cam-1/results"
    assert (told["status"], told["reason"], told["submission_id"]) == ("dropped", "chunks_timed_out", "42")
    assert rig.ingest.notices() == []
    assert rig.meter.counts("gateway_mqtt_chunked_pictures_total", outcome="chunks_timed_out") == 1
