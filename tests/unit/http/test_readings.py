import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ReadingInvalid
from gateway.messages import Readings
from gateway.readings import READINGS_PER_SUBMISSION_MAX, parse_readings
from gateway.strict_json import DEPTH_MAX

NOW = datetime(2026, 5, 4, 8, 30, tzinfo=UTC)


def parse(data: bytes | str, content_type: str = "application/json") -> Readings:
    raw = data.encode() if isinstance(data, str) else data
    return parse_readings(raw, content_type=content_type, now=NOW)


def values(readings: Readings) -> list[Any]:
    return [json.loads(item.values_json) for item in readings.items]


def test_object_is_one_reading_compact_and_in_the_device_order() -> None:
    readings = parse('{ "temperature": 21.5,\n "humidity": 40, "a": null }')
    assert [item.values_json for item in readings.items] == ['{"temperature":21.5,"humidity":40,"a":null}']
    assert not readings.is_array


def test_array_is_one_submission_of_many_readings() -> None:
    readings = parse('[{"a":1},{"a":2}]')
    assert values(readings) == [{"a": 1}, {"a": 2}]
    assert readings.is_array
    assert readings.data == b'[{"a":1},{"a":2}]'


def test_array_of_one_is_still_an_array() -> None:
    assert parse('[{"a":1}]').is_array


def test_text_beyond_ascii_is_kept_as_utf8() -> None:
    assert parse('{"sitio":"maíz"}').items[0].values_json == '{"sitio":"maíz"}'


def test_byte_order_mark_is_forgiven() -> None:
    assert values(parse(b'\xef\xbb\xbf{"a":1}')) == [{"a": 1}]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "not JSON"),
        (b"{", "line 1 column"),
        (b"21.5", "JSON object"),
        (b'"text"', "JSON object"),
        (b"{}", "at least one value"),
        (b"[]", "empty"),
        (b'[{"a":1},2]', "JSON object"),
        (b'[{"a":1},{}]', "at least one value"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b'{"a":1e999}', "double"),
        (b'{"a":9223372036854775808}', "64 bits"),
        (b'{"a":' + b"9" * 5000 + b"}", "64 bits"),
        (b'{"a":1,"a":2}', "twice"),
        (b'{"b":{"a":1,"a":2}}', "twice"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b'{"a":"\\ud800"}', "surrogate"),
        (b'{"\\udc00":1}', "surrogate"),
        (b'{"a":1} x', "Extra data"),
        (b"[" * 60000, "levels"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "levels"),
    ],
)
def test_what_consumers_would_disagree_on_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(ReadingInvalid) as refused:
        parse(data)
    assert told in refused.value.detail


def test_64_bit_integers_pass_at_their_ends() -> None:
    assert values(parse('{"low":-9223372036854775808,"high":9223372036854775807}')) == [
        {"low": -(2**63), "high": 2**63 - 1}
    ]


def test_nesting_passes_at_the_limit_and_not_beyond() -> None:
    def nested(levels: int) -> str:
        return '{"a":' * levels + "1" + "}" * levels

    assert parse(nested(DEPTH_MAX)).items
    with pytest.raises(ReadingInvalid):
        parse(nested(DEPTH_MAX + 2))


def test_array_length_has_a_cap() -> None:
    assert len(parse(json.dumps([{"a": 1}] * READINGS_PER_SUBMISSION_MAX)).items) == READINGS_PER_SUBMISSION_MAX
    with pytest.raises(ReadingInvalid):
        parse(json.dumps([{"a": 1}] * (READINGS_PER_SUBMISSION_MAX + 1)))


@given(st.binary(max_size=200))
def test_any_bytes_are_readings_or_refused(data: bytes) -> None:
    try:
        readings = parse(data)
    except ReadingInvalid:
        return
    assert all(isinstance(value, dict) for value in values(readings))


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), _JSON, min_size=1, max_size=4))
def test_every_sane_object_survives_unchanged(document: dict[str, Any]) -> None:
    content = json.dumps({"x" + key: value for key, value in document.items()})
    assert values(parse(content)) == [json.loads(content)]
