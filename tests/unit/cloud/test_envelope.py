"""The envelope: what the cloud reads, counted in bytes."""

import json
import re
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cloud.envelope import (
    MESSAGE_BYTES_MAX,
    EncodedEvent,
    Header,
    NotEncodable,
    build_message,
    count_that_fits,
    encode_event,
    message_bytes,
)
from gateway.messages import (
    Classification,
    ClockState,
    CloudMessage,
    Epoch,
    FormerEpoch,
    Kind,
    ModelIdentity,
    PendingEvent,
    Prediction,
    Reading,
    Result,
    Summary,
    SummaryMoment,
    Tombstone,
    Transport,
    Watermark,
    kind_of,
)
from gateway.result_text import result_text
from gateway.summaries import Tally, summary_document

SCHEMA_FILE = Path(__file__).resolve().parents[3] / "docs" / "envelope.schema.json"
AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SAFE = set(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")

MARK = Watermark(
    epoch=Epoch(epoch="0190b6f0-0000-7000-8000-000000000001", predecessor=None, predecessor_last_sequence=None),
    sequence_high=1000,
)
HEADER = Header("site-1", MARK)
MODEL = ModelIdentity(name="fruit", model_sha256="ab" * 32, labels_sha256="cd" * 32, runtime="litert")


def classification(*predictions: tuple[str, float]) -> Classification:
    return Classification(
        predictions=tuple(Prediction(label=label, probability=probability) for label, probability in predictions),
        model=MODEL,
        image_format="JPEG",
        image_width=1024,
        image_height=768,
        decode_ms=10.12345,
        preprocess_ms=1.5,
        inference_ms=20,
    )


WARM = Reading(values_json='{"temperature":21.5}')


def event(sequence: int = 1, *, result: Result = WARM, **changes: Any) -> PendingEvent:
    plain = PendingEvent(
        epoch=MARK.epoch.epoch,
        sequence=sequence,
        item_id=f"s-{sequence}",
        device_id="device-1",
        transport=Transport.HTTP,
        kind=kind_of(result),
        received_at=AT,
        captured_at=None,
        payload_sha256="00" * 32,
        id_reused=False,
        result_json=json.dumps(summary_document(result)) if isinstance(result, Summary) else result_text(result),
    )
    return plain._replace(**changes)


BANANA = event(2, result=classification(("apple", 0.25), ("ripe banana", 0.75)), transport=Transport.BLE)
MOMENT = SummaryMoment(received_at=AT, clock=ClockState.CORRECTED, boot=1, boottime_s=1.0)
COUNTS = Tally()
for _ in range(2):
    COUNTS.add(classification(("ripe", 0.9)), is_unsure=False)
COUNTS.add(classification(("ripe", 0.1)), is_unsure=True)
COUNTS.add(Reading(values_json='{"t":1,"huge":1e300}'), is_unsure=False)
SUMMARY = Summary(
    of_kind=Kind.CLASSIFICATION, window_s=600, first=MOMENT, last=MOMENT, counts_json=json.dumps(COUNTS.counts())
)
TOMBSTONE = Tombstone(
    tombstone_id=7, epoch=MARK.epoch.epoch, first_sequence=3, last_sequence=5, reason="outbox_evicted"
)


def message_of(*events: PendingEvent, header: Header = HEADER, tombstones: tuple[Tombstone, ...] = ()) -> CloudMessage:
    return build_message(header, tombstones, [encode_event(e) for e in events], created_at=AT)


def body_of(*events: PendingEvent, **parts: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(message_of(*events, **parts).body)
    return body


def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


# --- the body ---


def test_tombstone_counts_reasons_and_labels() -> None:
    counted = replace(TOMBSTONE, reason="mixed", reasons={"evicted": 1, "filtered": 2}, labels={"ripe": 3})
    body = body_of(event(), tombstones=(counted,))
    validator().validate(body)
    (told,) = body["tombstones"]
    assert (told["reasons"], told["labels"]) == ({"evicted": 1, "filtered": 2}, {"ripe": 3})


def test_body_says_which_gateway_epoch_and_watermark() -> None:
    body = body_of(event())
    assert body["schema"] == "gateway-bridge/1"
    assert (body["gateway_id"], body["epoch"], body["sequence_high"]) == ("site-1", MARK.epoch.epoch, 1000)
    assert body["predecessor"] is None


def test_new_epoch_names_its_predecessor() -> None:
    epoch = Epoch(epoch="e-2", predecessor="e-1", predecessor_last_sequence=41)
    body = body_of(event(), header=Header("site-1", replace(MARK, epoch=epoch)))
    assert body["predecessor"] == {"epoch": "e-1", "last_sequence": 41}


def test_what_was_saved_of_a_former_epoch_travels_under_its_own_name_and_never_beside_the_new_one() -> None:
    old = Epoch(epoch="old", predecessor=None, predecessor_last_sequence=None)
    new = replace(MARK.epoch, predecessor="old", predecessor_last_sequence=9, base=20)
    header = Header("site-1", replace(MARK, epoch=new, former=(FormerEpoch(epoch=old, sequence_high=9),)))
    events = [
        encode_event(event(7)._replace(epoch="old")),
        encode_event(event(8)._replace(epoch="old")),
        encode_event(event(1)._replace(epoch=new.epoch, base=20)),
    ]
    assert count_that_fits(header, (), events, bytes_max=MESSAGE_BYTES_MAX) == 2
    first, second = (
        json.loads(build_message(header, (), part, created_at=AT).body) for part in (events[:2], events[2:])
    )
    assert (first["epoch"], first["predecessor"], first["sequence_high"]) == ("old", None, 9)
    assert [item["sequence"] for item in first["items"]] == [7, 8]
    assert (second["epoch"], second["predecessor"]) == (new.epoch, {"epoch": "old", "last_sequence": 9})
    assert [item["sequence"] for item in second["items"]] == [1]


def test_reading_travels_as_the_device_wrote_it() -> None:
    values = '{"t":1e3,"ß":"größer \\u00e9","t2":1.10}'
    message = message_of(event(result=Reading(values_json=values)))
    assert b'"values":' + values.encode() in message.body


def test_classification_tells_model_image_and_timings() -> None:
    item = body_of(BANANA)["items"][0]
    assert item["model"] == {
        "name": "fruit",
        "sha256": "ab" * 32,
        "labels_sha256": "cd" * 32,
        "runtime": "litert",
    }
    assert item["predictions"] == [
        {"label": "apple", "probability": 0.25},
        {"label": "ripe banana", "probability": 0.75},
    ]
    assert item["image"] == {"format": "JPEG", "width": 1024, "height": 768}
    assert item["timings"] == {"decode_ms": 10.123, "preprocess_ms": 1.5, "inference_ms": 20}


def test_times_are_rfc3339_in_utc_with_z() -> None:
    summer = timezone(timedelta(hours=2))
    item = body_of(event(captured_at=datetime(2026, 7, 1, 1, 0, 0, tzinfo=summer)))["items"][0]
    assert item["received_at"] == "2026-03-01T12:00:00.123Z"
    assert item["captured_at"] == "2026-06-30T23:00:00.000Z"


@pytest.mark.parametrize("clock", list(ClockState))
def test_each_item_says_what_its_time_is_worth(clock: ClockState) -> None:
    item = body_of(event(clock=clock))["items"][0]
    assert item["clock"] == clock.value
    assert "received_between" not in item


def test_an_unknown_time_is_told_with_its_bounds_where_there_are_any() -> None:
    after, before = AT, AT + timedelta(hours=3)
    both = body_of(event(received_after=after, received_before=before))["items"][0]
    one = body_of(event(received_after=after))["items"][0]
    assert both["received_between"] == ["2026-03-01T12:00:00.123Z", "2026-03-01T15:00:00.123Z"]
    assert one["received_between"] == ["2026-03-01T12:00:00.123Z", None]


def test_element_of_an_array_has_its_number_in_its_id() -> None:
    assert body_of(event(item_id="a/3"))["items"][0]["submission_id"] == "a/3"


def test_tombstones_travel_beside_items() -> None:
    body = body_of(event(), tombstones=(TOMBSTONE,))
    assert body["tombstones"] == [
        {"epoch": MARK.epoch.epoch, "first_sequence": 3, "last_sequence": 5, "reason": "outbox_evicted"}
    ]
    assert len(body["items"]) == 1


def test_tombstones_travel_alone() -> None:
    message = message_of(tombstones=(TOMBSTONE,))
    assert json.loads(message.body)["items"] == []
    assert message.properties["kind"] == "tombstones"


def test_lone_surrogate_in_a_reading_still_gives_utf8() -> None:
    body = body_of(event(result=Reading(values_json='{"t":"\ud800"}')))
    assert body["items"][0]["values"] == {"t": "\ud800"}


def test_probability_that_is_no_number_is_not_encodable() -> None:
    damaged = BANANA._replace(result_json=BANANA.result_json.replace("0.75", "NaN"))
    with pytest.raises(NotEncodable):
        encode_event(damaged)


def test_classification_that_is_not_as_it_was_stored_is_not_encodable() -> None:
    with pytest.raises(NotEncodable):
        encode_event(BANANA._replace(result_json="{}"))


def test_summary_tells_its_window_and_its_counts() -> None:
    (item,) = body_of(event(3, result=SUMMARY, transport=Transport.GATEWAY))["items"]
    assert item["kind"] == "summary"
    assert item["summary"]["from"] == "2026-03-01T12:00:00.123Z"
    assert (item["summary"]["from_clock"], item["summary"]["to_clock"]) == ("corrected", "corrected")
    assert item["summary"]["labels"]["ripe"]["count"] == 2
    assert message_of(event(3, result=SUMMARY)).properties["kind"] == "summary"


# --- the schema ---


@pytest.mark.parametrize(
    "message",
    [
        message_of(event()),
        message_of(BANANA),
        message_of(event(), BANANA, event(9, captured_at=AT, id_reused=True, item_id="s-9/0"), tombstones=(TOMBSTONE,)),
        message_of(tombstones=(TOMBSTONE,)),
        message_of(
            event(),
            header=Header("g", replace(MARK, epoch=Epoch(epoch="b", predecessor="a", predecessor_last_sequence=None))),
        ),
        message_of(event(received_after=AT)),
        message_of(event(result=SUMMARY)),
    ],
    ids=["reading", "classification", "mixed", "tombstones", "predecessor", "bounded", "summary"],
)
def test_every_shape_of_body_obeys_the_schema(message: CloudMessage) -> None:
    validator().validate(json.loads(message.body))


def test_schema_knows_every_key_so_an_unknown_one_fails() -> None:
    body = body_of(event())
    body["items"][0]["surprise"] = 1
    with pytest.raises(jsonschema.ValidationError):
        validator().validate(body)


def test_schema_describes_every_property() -> None:
    def bare(node: Any, path: str) -> list[str]:
        found: list[str] = []
        if isinstance(node, dict):
            for name, child in node.get("properties", {}).items():
                described = {"description", "$ref"} & child.keys() or name == "kind"
                found += [] if described else [f"{path}.{name}"]
            for name, child in node.items():
                found += bare(child, f"{path}.{name}")
        elif isinstance(node, list):
            for child in node:
                found += bare(child, path)
        return found

    assert bare(json.loads(SCHEMA_FILE.read_text()), "") == []


# --- routing ---


def test_routing_keys_are_there_when_all_items_agree() -> None:
    other = BANANA._replace(sequence=8)
    assert message_of(BANANA, other).properties == {
        "schemaVersion": "1",
        "kind": "classification",
        "deviceId": "device-1",
        "transport": "ble",
        "label": "ripe%20banana",
    }


def test_routing_keys_on_which_items_differ_are_left_out() -> None:
    assert message_of(event(), event(2, device_id="device-2")).properties == {
        "schemaVersion": "1",
        "kind": "reading",
        "transport": "http",
    }
    assert message_of(event(), BANANA).properties["kind"] == "mixed"


@pytest.mark.parametrize("third", [classification(("apple", 0.5), ("ripe banana", 0.25)), classification(), WARM])
def test_label_is_a_routing_key_only_if_every_item_has_it(third: Result) -> None:
    bananas = BANANA, BANANA._replace(sequence=8)
    other = event(9, result=third, transport=BANANA.transport)
    assert message_of(*bananas).properties["label"] == "ripe%20banana"
    assert "label" not in message_of(*bananas, other).properties
    assert "label" not in message_of(other, *bananas).properties


def test_device_is_a_routing_key_only_if_all_items_agree_however_they_alternate() -> None:
    one, two = event(1), event(2, device_id="device-2")
    assert "deviceId" not in message_of(one, two, one, two).properties
    assert message_of(one, one).properties["deviceId"] == "device-1"


@given(text=st.text(st.characters(codec="utf-8"), max_size=60))
def test_whatever_a_device_calls_itself_and_its_event_stands_in_the_item(text: str) -> None:
    (item,) = body_of(event(item_id=text, device_id=text, payload_sha256=text))["items"]
    assert (item["submission_id"], item["device_id"], item["payload_sha256"]) == (text, text, text)


def test_content_type_and_encoding_let_routing_queries_read_the_body() -> None:
    message = message_of(event())
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert isinstance(json.loads(message.body.decode("utf-8")), dict)


@given(device_id=st.text(min_size=1, max_size=80), label=st.text(max_size=80))
def test_properties_hold_only_what_iot_hub_allows(device_id: str, label: str) -> None:
    properties = message_of(event(device_id=device_id, result=classification((label, 1.0)))).properties
    assert all(set(name + value) <= SAFE for name, value in properties.items())


def test_long_routing_value_is_left_out_of_properties() -> None:
    assert "deviceId" not in message_of(event(device_id="x" * 300)).properties


# --- the message id ---


def test_message_id_repeats_for_the_same_batch_whatever_the_watermark() -> None:
    later = Header("site-1", replace(MARK, sequence_high=2000))
    assert message_of(event(), BANANA).message_id == message_of(event(), BANANA, header=later).message_id


def test_message_id_differs_when_anything_in_the_batch_does() -> None:
    moved = Header("site-1", replace(MARK, epoch=replace(MARK.epoch, epoch="other")))
    ids = [
        message_of(event(1)).message_id,
        message_of(event(12)).message_id,
        message_of(event(1), event(2)).message_id,
        message_of(event(1), tombstones=(TOMBSTONE,)).message_id,
        message_of(event(1), tombstones=(replace(TOMBSTONE, last_sequence=6),)).message_id,
        message_of(event(1), header=moved).message_id,
        message_of(event(1), header=Header("site-2", MARK)).message_id,
    ]
    assert len(set(ids)) == len(ids)


def test_message_id_is_what_iot_hub_allows() -> None:
    assert re.fullmatch(r"[0-9a-f]{1,128}", message_of(event()).message_id)


# --- sizes ---


def test_size_counts_body_and_properties_as_iot_hub_does() -> None:
    message = message_of(event())
    system = [message.message_id, "2026-03-01T12:00:00.123456Z", message.content_type, message.content_encoding]
    application = [text for pair in message.properties.items() for text in pair]
    assert message_bytes(message) == len(message.body) + sum(map(len, system + application))


ENCODED = st.lists(
    st.builds(
        lambda values, device, picture: (values, device, picture),
        st.text(alphabet="aß€😀", max_size=300),
        st.sampled_from(["d-1", "d-2", "größe"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


@given(drawn=ENCODED, bytes_max=st.integers(1024, 5000), with_tombstone=st.booleans())
def test_as_many_whole_events_as_fit_and_never_one_more(
    drawn: list[tuple[str, str, bool]], bytes_max: int, with_tombstone: bool
) -> None:
    encoded: list[EncodedEvent] = []
    for sequence, (text, device_id, picture) in enumerate(drawn, 1):
        reading = Reading(values_json=json.dumps({"t": text}, ensure_ascii=False))
        result = classification((text, 1.0)) if picture else reading
        encoded.append(encode_event(event(sequence, device_id=device_id, result=result)))
    tombstones = (TOMBSTONE,) if with_tombstone else ()

    count = count_that_fits(HEADER, tombstones, encoded, bytes_max=bytes_max)

    def size(n: int) -> int:
        return message_bytes(build_message(HEADER, tombstones, encoded[:n], created_at=AT))

    assert count >= 1
    assert count == 1 or size(count) <= bytes_max
    assert count == len(encoded) or size(count + 1) > bytes_max


def test_first_event_goes_even_if_it_is_larger_than_asked() -> None:
    large = encode_event(event(result=Reading(values_json='{"t":"%s"}' % ("x" * 5000))))
    assert count_that_fits(HEADER, (), [large, encode_event(event(2))], bytes_max=4096) == 1


def test_no_events_fit_when_there_are_none() -> None:
    assert count_that_fits(HEADER, (TOMBSTONE,), [], bytes_max=4096) == 0


def test_cap_leaves_room_below_the_hubs_limit() -> None:
    assert MESSAGE_BYTES_MAX == 240 * 1024


def test_the_schema_knows_every_transport() -> None:
    item = json.loads(SCHEMA_FILE.read_text())["properties"]["items"]["items"]
    assert item["properties"]["transport"]["enum"] == [transport.value for transport in Transport]
