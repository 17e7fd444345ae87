from datetime import UTC, datetime

import pytest

from adapters.http.identity import (
    captured_at_of,
    device_id_of_address,
    device_id_of_request,
    submission_id_of,
)
from gateway.errors import RequestInvalid
from gateway.identifiers import device_id_checked, timestamp


@pytest.mark.parametrize(
    ("host", "device_id"),
    [
        ("192.0.2.7", "ip-192-0-2-7"),
        ("::ffff:192.0.2.7", "ip-192-0-2-7"),
        ("2001:db8::1", "ip-2001-db8--1"),
        ("fe80::1%eth0", "ip-fe80--1"),
        ("testclient", "ip-unknown"),
        (None, "ip-unknown"),
    ],
)
def test_address_becomes_a_safe_device_id(host: str | None, device_id: str) -> None:
    assert device_id_of_address(host) == device_id
    assert device_id_checked(device_id) == device_id


def test_query_outranks_header_and_header_outranks_address() -> None:
    headers = {"x-device-id": "from-header"}
    assert device_id_of_request({"device": "from-query"}, headers, "192.0.2.7") == "from-query"
    assert device_id_of_request({}, headers, "192.0.2.7") == "from-header"
    assert device_id_of_request({}, {}, "192.0.2.7") == "ip-192-0-2-7"


@pytest.mark.parametrize(("query", "headers"), [({"device": ""}, {}), ({"device": "good"}, {"x-device-id": "a b"})])
def test_bad_claim_is_refused_even_beside_a_better_one(query: dict[str, str], headers: dict[str, str]) -> None:
    with pytest.raises(RequestInvalid):
        device_id_of_request(query, headers, "192.0.2.7")


@pytest.mark.parametrize("device_id", ["", "a" * 129, "a b", "a/b", "a\n", "größe", "../x", "a#"])
def test_unsafe_device_id_is_refused(device_id: str) -> None:
    with pytest.raises(RequestInvalid):
        device_id_checked(device_id)


def test_refusal_never_repeats_raw_control_characters() -> None:
    with pytest.raises(RequestInvalid) as refused:
        device_id_checked("a\r\nlog injection\x1b[31m" * 20)
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 200


def test_idempotency_key_is_taken_with_and_without_quotes() -> None:
    assert submission_id_of({"idempotency-key": "a-1"}) == "a-1"
    assert submission_id_of({"idempotency-key": '"a-1"'}) == "a-1"
    assert submission_id_of({}) is None


@pytest.mark.parametrize("key", ["", '""', "a/b", "a b", "x" * 129, "\x7f", "ü"])
def test_unusable_idempotency_key_is_refused(key: str) -> None:
    with pytest.raises(RequestInvalid):
        submission_id_of({"idempotency-key": key})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-04T08:30:00Z", datetime(2026, 5, 4, 8, 30, tzinfo=UTC)),
        ("2026-05-04t08:30:00z", datetime(2026, 5, 4, 8, 30, tzinfo=UTC)),
        ("2026-05-04T10:30:00+02:00", datetime(2026, 5, 4, 8, 30, tzinfo=UTC)),
        ("2026-05-04T10:30:00 02:00", datetime(2026, 5, 4, 8, 30, tzinfo=UTC)),
        ("2026-05-04T08:30:00.5Z", datetime(2026, 5, 4, 8, 30, 0, 500000, tzinfo=UTC)),
        ("2026-05-04T08:30:00.123456789Z", datetime(2026, 5, 4, 8, 30, 0, 123456, tzinfo=UTC)),
    ],
)
def test_rfc3339_time_is_read_as_utc(text: str, expected: datetime) -> None:
    assert timestamp(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-05-04", "2026-05-04T08:30:00", "1746346200", "2026-13-04T08:30:00Z", "0001-01-01T00:00:00+23:59"],
)
def test_other_times_are_refused_with_the_form_expected(text: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        timestamp(text)
    assert "RFC 3339" in refused.value.cure


def test_captured_at_comes_from_header_or_query() -> None:
    expected = datetime(2026, 5, 4, 8, 30, tzinfo=UTC)
    assert captured_at_of({}, {"x-captured-at": "2026-05-04T08:30:00Z"}) == expected
    assert captured_at_of({"captured_at": "2026-05-04T08:30:00Z"}, {}) == expected
    assert captured_at_of({}, {}) is None
