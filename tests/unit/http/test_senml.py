import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway import RELEASED_AT
from gateway.errors import ReadingInvalid
from gateway.readings import parse_readings
from gateway.senml import NAME_CHARS_MAX, SENML_TYPE

NOW = RELEASED_AT + timedelta(days=33, hours=8, minutes=30)  # a clock that can be right


def resolve(document: Any, content_type: str = "application/json") -> list[Any]:
    readings = parse_readings(json.dumps(document).encode(), content_type=content_type, now=NOW)
    return [json.loads(item.values_json) for item in readings.items]


def test_base_fields_are_resolved_into_every_record() -> None:
    # RFC 8428 section 5.1.2
    pack = [
        {"bn": "urn:dev:ow:10e2073a01080063:", "n": "voltage", "u": "V", "v": 120.1},
        {"n": "current", "u": "A", "v": 1.2},
    ]
    assert resolve(pack) == [
        {"n": "urn:dev:ow:10e2073a01080063:voltage", "u": "V", "v": 120.1},
        {"n": "urn:dev:ow:10e2073a01080063:current", "u": "A", "v": 1.2},
    ]


def test_base_time_unit_value_and_sum_apply_until_replaced() -> None:
    pack = [
        {"bn": "a:", "bt": 1_276_020_076, "bu": "Cel", "bv": 20, "bs": 5, "n": "x", "v": 1.5, "t": -5, "s": 2},
        {"n": "y", "v": 2},
        {"bn": "b:", "bu": "K", "n": "z", "u": "V", "v": 3},
    ]
    assert resolve(pack) == [
        {"n": "a:x", "u": "Cel", "t": 1_276_020_071, "v": 21.5, "s": 7},
        {"n": "a:y", "u": "Cel", "t": 1_276_020_076, "v": 22},
        {"n": "b:z", "u": "V", "t": 1_276_020_076, "v": 23},
    ]


def test_relative_times_stay_relative_while_the_clock_is_in_the_past() -> None:
    text = json.dumps([{"n": "a", "t": -5, "v": 1}]).encode()
    readings = parse_readings(text, content_type=SENML_TYPE, now=datetime(1970, 1, 2, tzinfo=UTC))
    assert json.loads(readings.items[0].values_json)["t"] == -5


def test_small_times_are_relative_to_now() -> None:
    assert resolve([{"n": "x", "t": -60, "v": 1}])[0]["t"] == NOW.timestamp() - 60


def test_texts_booleans_and_data_are_values_too() -> None:
    pack = [{"bn": "d:", "n": "door", "vb": True}, {"n": "label", "vs": "left"}, {"n": "raw", "vd": "aGk"}]
    assert resolve(pack) == [{"n": "d:door", "vb": True}, {"n": "d:label", "vs": "left"}, {"n": "d:raw", "vd": "aGk"}]


def test_record_of_base_fields_alone_gives_no_reading() -> None:
    assert resolve([{"bn": "d:", "bu": "Cel"}, {"n": "t", "v": 21}]) == [{"n": "d:t", "u": "Cel", "v": 21}]


def test_single_object_with_senml_fields_is_resolved() -> None:
    assert resolve({"bn": "d:", "n": "t", "v": 21}) == [{"n": "d:t", "v": 21}]


def test_plain_object_with_other_keys_is_left_alone() -> None:
    assert resolve({"n": "t", "v": 21, "battery": 3.3}) == [{"n": "t", "v": 21, "battery": 3.3}]


def test_media_type_decides_where_keys_do_not() -> None:
    record = {"bn": "d:", "n": "t", "v": 21, "vendor": "x"}
    assert resolve(record, SENML_TYPE + "; charset=utf-8") == [{"n": "d:t", "v": 21, "vendor": "x"}]


@pytest.mark.parametrize(
    "pack",
    [
        [{"n": "t", "v": "21"}],
        [{"n": "t", "v": True}],
        [{"n": "t", "vb": 1}],
        [{"n": "t", "vs": 1}],
        [{"bn": "d:", "bt": "now", "v": 1}],
        [{"n": "t"}],
        [{"bn": "d:"}],
        [{"n": "", "v": 1}],
        [{"n": "t", "bver": 11, "v": 1}],
        [{"n": "t", "v": 1, "bv": 1e308}, {"n": "u", "v": 1.7e308}],
        [{"n": "t", "v": 2**63 - 1, "bv": 1}],
        [{"bn": "x" * NAME_CHARS_MAX, "n": "y", "v": 1}],
        [{"n": "y", "u": "x" * 65, "v": 1}],
    ],
)
def test_wrong_senml_is_refused(pack: list[Any]) -> None:
    with pytest.raises(ReadingInvalid):
        resolve(pack)


def test_field_that_must_be_understood_is_refused() -> None:
    with pytest.raises(ReadingInvalid) as refused:
        resolve([{"n": "t", "v": 1, "x_": 1}], SENML_TYPE)
    assert "x_" in refused.value.detail


def test_long_base_name_does_not_multiply_into_megabytes() -> None:
    pack = [{"bn": "x" * 60_000, "n": "a", "v": 1}, *[{"v": 1}] * 200]
    with pytest.raises(ReadingInvalid):
        resolve(pack, SENML_TYPE)
