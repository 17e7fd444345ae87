"""The device routes over real uvicorn: what is accepted, what is answered, what is noted."""

import hashlib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import structlog

from adapters.http.paths import custom_vision_paths
from gateway.errors import DiskUnavailable, ImageDamaged, IntakeFull, OutboxFull
from gateway.messages import IdReuse, Image, Readings, Transport
from gateway.settings import LimitsSettings
from tests.fakes.http_server import Serving, read_answer, serving_http
from tests.fakes.intake import FakeIntake

JPEG = b"\xff\xd8\xff" + bytes(range(256)) * 8


@pytest.fixture
def serving() -> Iterator[Serving]:
    with serving_http(limits=LimitsSettings(image_bytes_max=64 * 1024, reading_bytes_max=1024)) as running:
        yield running


@pytest.fixture
def http(serving: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=serving.url) as client:
        yield client


def filled(path: str) -> str:
    return path.replace("{project}", "8f2c-Pr0ject").replace("{name}", "Iteration%201")


# --- Custom Vision ---


@pytest.mark.parametrize("path", custom_vision_paths("image"))
def test_every_custom_vision_path_classifies(serving: Serving, http: httpx.Client, path: str) -> None:
    answer = http.post(filled(path), content=JPEG)
    assert answer.status_code == 200
    assert answer.headers["content-length"] == str(len(answer.content))
    assert [found["tagName"] for found in answer.json()["predictions"]] == ["ripe", "unripe"]
    assert serving.intake.last.payload == Image(data=JPEG)


@pytest.mark.parametrize("path", ["/customvision/v3.0/Prediction/p/classify/iterations/i/image/nostore?application=x"])
def test_portal_spelling_is_accepted(http: httpx.Client, path: str) -> None:
    assert http.post(path, content=JPEG).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/image/", "/Image", "/image/nostore", "/p/image/", "/p/train/iterations/i/image", "/customvision/v2.0/x/image/y"],
)
def test_paths_of_no_client_are_404(http: httpx.Client, path: str) -> None:
    answer = http.post(path, content=JPEG)
    assert answer.status_code == 404
    assert "route_unknown" in answer.text


@pytest.mark.parametrize(
    "content_type", [None, "", "image/png", "application/octet-stream", "application/x-www-form-urlencoded", "nonsense"]
)
def test_content_type_does_not_matter_for_raw_bytes(
    serving: Serving, http: httpx.Client, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert http.post("/image", content=JPEG, headers=headers).status_code == 200
    assert serving.intake.last.payload == Image(data=JPEG)


def test_chunked_body_is_accepted(serving: Serving, http: httpx.Client) -> None:
    assert http.post("/image", content=iter([JPEG[:10], JPEG[10:]])).status_code == 200
    assert serving.intake.last.payload == Image(data=JPEG)


@pytest.mark.parametrize(
    "files",
    [
        {"imageData": ("a.jpg", JPEG, "image/jpeg")},
        {"imageData": (None, JPEG)},
        {"picture": ("a.jpg", JPEG, "image/jpeg")},
    ],
)
def test_form_yields_the_picture_and_not_the_envelope(
    serving: Serving, http: httpx.Client, files: dict[str, tuple[str | None, bytes]]
) -> None:
    assert http.post("/image", files=files).status_code == 200
    assert serving.intake.last.payload == Image(data=JPEG)


def test_text_field_with_a_path_opens_no_file(serving: Serving, http: httpx.Client, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(JPEG)
    for request in ({"data": {"imageData": str(secret)}}, {"files": {"imageData": (None, bytes(secret))}}):
        answer = http.post("/image", **request)
        assert answer.status_code == 415
    assert all(
        isinstance(submission.payload, Image) and JPEG not in submission.payload.data
        for submission in serving.intake.submissions
    )


def test_device_id_comes_from_query_header_or_address(serving: Serving, http: httpx.Client) -> None:
    http.post("/image?device=cam-1", content=JPEG, headers={"x-device-id": "cam-2"})
    http.post("/image", content=JPEG, headers={"x-device-id": "cam-2"})
    http.post("/image", content=JPEG)
    assert [submission.device_id for submission in serving.intake.submissions] == ["cam-1", "cam-2", "ip-127-0-0-1"]
    assert {submission.transport for submission in serving.intake.submissions} == {Transport.HTTP}


def test_custom_vision_redelivery_is_recognised_and_other_bytes_are_a_new_event(
    serving: Serving, http: httpx.Client
) -> None:
    for content in (JPEG, JPEG, JPEG + b"x"):
        assert http.post("/image?device=d", content=content, headers={"idempotency-key": "1"}).status_code == 200
    assert [event.id_reused for event in serving.intake.events] == [False, True]


def test_legacy_refusal_is_text_with_reason_and_hint(http: httpx.Client) -> None:
    answer = http.post("/image", content=b"no picture")
    assert answer.status_code == 415
    assert answer.headers["content-type"].startswith("text/plain")
    assert "not_an_image" in answer.text
    assert "hint: send a JPEG" in answer.text


# --- native API ---


def test_native_image_answers_the_receipt(serving: Serving, http: httpx.Client) -> None:
    headers = {"idempotency-key": "k1", "x-captured-at": "2026-05-04T10:30:00+02:00"}
    answer = http.post("/v1/devices/cam/images", content=JPEG, headers=headers)
    document = answer.json()
    assert answer.status_code == 200
    assert document["submission_id"] == "k1"
    assert document["device_id"] == "cam"
    assert (document["sequence"], document["duplicate"]) == (1, False)
    assert document["predictions"][0] == {"label": "ripe", "probability": 0.99956155}
    assert serving.intake.last.captured_at == datetime(2026, 5, 4, 8, 30, tzinfo=UTC)
    assert serving.intake.last.on_id_reuse is IdReuse.REJECT


def test_native_image_takes_forms_too(serving: Serving, http: httpx.Client) -> None:
    assert http.post("/v1/devices/cam/images", files={"imageData": ("a", JPEG)}).status_code == 200
    assert serving.intake.last.payload == Image(data=JPEG)


def test_same_key_and_bytes_answers_the_first_receipt(http: httpx.Client) -> None:
    headers = {"idempotency-key": "k1"}
    first, second = (http.post("/v1/devices/cam/images", content=JPEG, headers=headers).json() for _ in range(2))
    assert second.pop("duplicate") is True
    assert first.pop("duplicate") is False
    assert first == second


def test_same_key_with_other_bytes_is_422(http: httpx.Client) -> None:
    headers = {"idempotency-key": "k1"}
    http.post("/v1/devices/cam/images", content=JPEG, headers=headers)
    answer = http.post("/v1/devices/cam/images", content=JPEG + b"x", headers=headers)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] == "submission_id_reused"


def test_readings_array_is_one_submission_with_suffixed_ids(serving: Serving, http: httpx.Client) -> None:
    answer = http.post("/v1/devices/s1/readings", json=[{"t": 1}, {"t": 2}], headers={"idempotency-key": "r"})
    assert answer.status_code == 200
    assert answer.json()["items"] == [{"id": "r/0", "sequence": 1}, {"id": "r/1", "sequence": 2}]
    assert isinstance(serving.intake.last.payload, Readings)


def test_event_is_read_back_with_its_state(http: httpx.Client) -> None:
    http.post("/v1/devices/s1/readings", json=[{"t": 1}, {"t": 2}], headers={"idempotency-key": "r"})
    answer = http.get("/v1/devices/s1/events/r/1")
    assert answer.status_code == 200
    assert answer.json()["values"] == {"t": 2}
    assert answer.json()["state"] == "pending"


@pytest.mark.parametrize("submission_id", ["unknown", "r/2", "", "a b", "%00"])
def test_unknown_event_is_a_404_problem(http: httpx.Client, submission_id: str) -> None:
    answer = http.get(f"/v1/devices/s1/events/{submission_id}")
    assert answer.status_code == 404
    assert answer.json()["reason"] == "event_unknown"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/devices/a b/images", {}),
        ("/v1/devices/cam/images", {"idempotency-key": "a/b"}),
        ("/v1/devices/cam/images", {"x-captured-at": "yesterday"}),
        ("/v1/devices/cam/images?captured_at=12", {}),
    ],
)
def test_wrong_request_around_a_good_picture_is_a_400_problem(
    serving: Serving, http: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    answer = http.post(path, content=JPEG, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["reason"] == "request_invalid"
    assert not serving.intake.submissions


# --- refusals and accounts ---


@pytest.mark.parametrize("chunked", [False, True])
def test_too_many_bytes_are_413_and_noted(serving: Serving, http: httpx.Client, chunked: bool) -> None:
    data = JPEG + bytes(64 * 1024)
    answer = http.post("/v1/devices/cam/images", content=iter([data[:40000], data[40000:]]) if chunked else data)
    assert answer.status_code == 413
    assert answer.json()["reason"] == "payload_too_large"
    (refused,) = serving.intake.refusals
    assert (refused.reason, refused.device_id, refused.payload_sha256) == ("payload_too_large", "cam", None)
    assert not serving.intake.submissions


def test_chunks_beyond_the_cap_are_not_kept(serving: Serving, http: httpx.Client) -> None:
    answer = http.post("/image", content=iter([JPEG, *[bytes(50_000)] * 40]))
    assert answer.status_code == 413
    assert serving.intake.bytes_held_high <= 64 * 1024


def test_form_may_be_larger_than_the_picture_cap_by_its_envelope_only(http: httpx.Client) -> None:
    at_cap = JPEG + bytes(64 * 1024 - len(JPEG))
    assert http.post("/image", files={"imageData": ("a", at_cap)}).status_code == 200
    assert http.post("/image", files={"imageData": ("a", at_cap + b"x")}).status_code == 413


def test_wrong_reading_is_noted_with_its_hash(serving: Serving, http: httpx.Client) -> None:
    content = b'{"t": NaN}'
    assert http.post("/v1/devices/s1/readings", content=content).status_code == 422
    (refused,) = serving.intake.refusals
    assert refused.payload_sha256 == hashlib.sha256(content).hexdigest()
    assert refused.payload_bytes == len(content)


def test_what_the_intake_refuses_is_not_noted_twice(serving: Serving, http: httpx.Client) -> None:
    serving.intake.fault = ImageDamaged("cut off")
    assert http.post("/image", content=JPEG).status_code == 422
    assert serving.intake.refusals == []


@pytest.mark.parametrize("path", ["/image", "/v1/devices/cam/images", "/v1/devices/cam/readings"])
def test_every_outcome_gives_its_place_and_bytes_back(serving: Serving, http: httpx.Client, path: str) -> None:
    for content in (JPEG, b"", b"{}", b'{"a":1}', bytes(100_000), iter([JPEG])):
        http.post(path, content=content)
    serving.intake.fault = DiskUnavailable("full")
    http.post(path, content=JPEG)
    assert (serving.intake.places_held, serving.intake.bytes_held) == (0, 0)


def test_declared_length_is_reserved_up_front_and_chunks_as_they_come(serving: Serving, http: httpx.Client) -> None:
    http.post("/image", content=JPEG)
    assert serving.intake.bytes_held_high == len(JPEG)
    serving.intake.bytes_held_high = 0
    http.post("/image", content=iter([JPEG, JPEG]))
    assert serving.intake.bytes_held_high == 2 * len(JPEG)


def test_chunks_beyond_the_memory_budget_are_503(serving: Serving, http: httpx.Client) -> None:
    serving.intake.bytes_max = 1000
    answer = http.post("/image", content=iter([JPEG]))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_full_intake_is_503_before_the_body_is_read(serving: Serving, http: httpx.Client) -> None:
    serving.intake.closed = IntakeFull("64 are waiting")
    answer = http.post("/v1/devices/cam/images", content=JPEG)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["reason"] == "intake_full"


def test_refused_client_that_writes_everything_first_still_reads_the_answer() -> None:
    body = bytes(6 * 1024 * 1024)  # far beyond what socket buffers hold
    with serving_http(intake=FakeIntake(closed=OutboxFull("full"))) as serving:
        connection = serving.connect()
        # HTTP/1.0: the server closes after its answer, and unread bytes would turn that into a reset.
        connection.sendall(b"POST /image HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        status, headers, _ = read_answer(connection)
    assert (status, headers["retry-after"]) == (503, "60")


def test_refused_client_with_keep_alive_goes_on_with_its_connection(serving: Serving) -> None:
    connection = serving.connect()
    request = b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
    for _ in range(2):
        connection.sendall(request)
        assert read_answer(connection)[0] == 413
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert read_answer(connection)[0] == 200


def test_client_that_asks_first_is_refused_before_it_sends(serving: Serving) -> None:
    connection = serving.connect()
    connection.sendall(b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
    assert read_answer(connection)[0] == 413


def test_client_that_asks_first_is_told_to_go_on(serving: Serving) -> None:
    connection = serving.connect()
    head = b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n"
    connection.sendall(head % len(JPEG))
    assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
    connection.sendall(JPEG)
    assert read_answer(connection)[0] == 200


def test_client_that_leaves_in_the_middle_leaves_nothing_behind(serving: Serving) -> None:
    connection = serving.connect()
    connection.sendall(b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()
    with httpx.Client(base_url=serving.url) as client:
        for _ in range(100):
            client.get("/healthz")
            if not serving.intake.places_held and serving.meter.levels["gateway_http_connections"] == 1:
                break
    assert (serving.intake.places_held, serving.intake.bytes_held) == (0, 0)
    assert serving.intake.refusals == []


def test_bug_is_500_with_a_reference_and_the_server_lives_on(serving: Serving, http: httpx.Client) -> None:
    serving.intake.fault = ZeroDivisionError("secret detail")
    with structlog.testing.capture_logs() as logs:
        answer = http.post("/v1/devices/cam/images", content=JPEG)
    assert [(entry["event"], entry["reference"]) for entry in logs] == [
        ("http_internal_error", answer.json()["reference"])
    ]
    assert answer.status_code == 500
    assert answer.json()["reason"] == "internal_error"
    assert answer.headers["connection"] == "close"
    assert len(answer.json()["reference"]) == 12
    assert "secret detail" not in answer.text
    assert (serving.intake.places_held, serving.intake.bytes_held) == (0, 0)
    assert http.get("/healthz").status_code == 200


# --- the rest ---


def test_banner_names_model_and_labels(http: httpx.Client) -> None:
    answer = http.get("/")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "fruit (ripe, unripe)" in answer.text


def test_ready_follows_the_obstacles_and_alive_does_not(serving: Serving, http: httpx.Client) -> None:
    assert http.get("/readyz").json() == {"ready": True, "obstacles": []}
    serving.readiness.slugs = ("outbox_full",)
    answer = http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["obstacles"] == ["outbox_full"]
    assert int(answer.headers["retry-after"]) >= 1
    assert http.get("/healthz").status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/image", "/p/url", "/v1/devices/d/images", "/v1/devices/d/readings"])
def test_other_methods_on_post_routes_are_405_with_allow(http: httpx.Client, path: str, method: str) -> None:
    answer = http.request(method, path)
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]


def test_head_answers_probes_without_a_body(http: httpx.Client) -> None:
    answer = http.head("/healthz")
    assert (answer.status_code, answer.content) == (200, b"")


def test_unknown_path_under_v1_is_a_problem(http: httpx.Client) -> None:
    answer = http.get("/v1/nothing")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_answers_are_counted_by_route_template(serving: Serving, http: httpx.Client) -> None:
    http.post("/my-project/image", content=JPEG)
    http.get("/nothing")
    counts = serving.meter.counts
    assert counts("gateway_http_requests_total", route="/{project}/image", status="200") == 1
    assert counts("gateway_http_requests_total", route="unmatched", status="404") == 1
