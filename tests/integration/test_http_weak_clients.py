"""Requests as weak clients write them, each with a raw socket: served where one meaning is left, else refused."""

import base64
import json
import time
from collections.abc import Iterator
from urllib.parse import quote_from_bytes

import pytest

from gateway.messages import Image
from gateway.settings import LimitsSettings
from tests.fakes.http_server import Serving, is_closed_by_peer, read_answer, serving_http

JPEG = b"\xff\xd8\xff\xe0 +%\n&=" + bytes(range(256)) * 8
LENGTH = b"Content-Length: %d\r\n" % len(JPEG)
BASE64 = base64.b64encode(JPEG)


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with serving_http(limits=LimitsSettings(image_bytes_max=64 * 1024)) as running:
        yield running


@pytest.fixture
def serving(server: Serving) -> Serving:
    server.intake.submissions.clear()
    return server


def answer_to(serving: Serving, request: bytes) -> tuple[int, dict[str, str], bytes]:
    connection = serving.connect()
    connection.sendall(request)
    return read_answer(connection)


def stored(serving: Serving) -> list[bytes]:
    return [one.payload.data for one in serving.intake.submissions if isinstance(one.payload, Image)]


# --- framing ---


@pytest.mark.parametrize(
    "head",
    [
        b"POST /image HTTP/1.0\r\n" + LENGTH,
        b"PUT /image HTTP/1.1\r\nHost: x\r\n" + LENGTH,
        b"put /image HTTP/1.1\r\nHost: x\r\n" + LENGTH,
        b"POST /image HTTP/1.1\nHost: x\n" + LENGTH.replace(b"\r", b""),
        b"POST /image HTTP/1.1\r\nHost: x\n" + LENGTH,
        b"\r\n\n\r\nPOST /image HTTP/1.1\r\nHost: x\r\n" + LENGTH,
        b"POST /image HTTP/1.1\r\nHost: x\r\n" + LENGTH + LENGTH,
        b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: %d, %d\r\n" % (len(JPEG), len(JPEG)),
        b"POST http://elsewhere/image HTTP/1.1\r\nHost: elsewhere\r\n" + LENGTH,
        b"POST /image HTTP/1.0\r\nExpect: 100-continue\r\n" + LENGTH,
    ],
)
def test_one_meaning_is_served(serving: Serving, head: bytes) -> None:
    end = b"\n" if b"\r" not in head else b"\r\n"
    assert answer_to(serving, head + end + JPEG)[0] == 200
    assert stored(serving) == [JPEG]


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n", "conflicting"),
        (b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n", "conflicting"),
        (b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n", "Content-Length"),
        (b"POST /image HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", "both"),
        (b"POST /image HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", "HTTP/1.0"),
        (b"POST /image HTTP/1.1\r\n" + LENGTH, "Host"),
        (b"POST /image HTTP/1.1\r\nHost: x\r\nHost: y\r\n" + LENGTH, "Host"),
    ],
)
def test_two_meanings_are_refused_with_the_reason_and_what_follows_is_not_a_request(
    serving: Serving, head: bytes, why: str
) -> None:
    connection = serving.connect()
    hidden = b"POST /image HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"\r\n" + JPEG
    connection.sendall(head + b"\r\n0\r\n\r\n" + hidden)
    status, headers, text = read_answer(connection)
    assert (status, headers["connection"]) == (400, "close")
    assert why in text.decode()
    assert is_closed_by_peer(connection)
    assert not stored(serving)


def test_line_end_behind_a_body_is_not_a_request(serving: Serving) -> None:
    connection = serving.connect()
    request = b"POST /image HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"\r\n" + JPEG
    for end in (b"\r\n", b"\n", b""):
        connection.sendall(request + end)
        assert read_answer(connection)[0] == 200
    assert len(stored(serving)) == 3


def test_client_that_waits_is_asked_to_go_on_and_one_whose_picture_is_too_large_is_not(serving: Serving) -> None:
    expecting = b"POST /image HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: %d\r\n\r\n"
    patient = serving.connect()
    patient.sendall(expecting % len(JPEG))
    assert patient.recv(1024).startswith(b"HTTP/1.1 100 ")
    patient.sendall(JPEG)
    assert read_answer(patient)[0] == 200
    assert answer_to(serving, expecting % 100_000)[0] == 413


def test_slow_sender_within_the_limits_is_served(serving: Serving) -> None:
    connection = serving.connect()
    request = b"POST /image HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"\r\n" + JPEG
    for at in range(0, len(request), 400):
        connection.sendall(request[at : at + 400])
        time.sleep(0.03)
    assert read_answer(connection)[0] == 200
    assert stored(serving) == [JPEG]


@pytest.mark.parametrize(("path", "status"), [(b"/healthz", "400"), (b"/image", "405")])
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_get_with_a_body_is_refused_with_the_way_that_is_right(
    serving: Serving, method: bytes, path: bytes, status: str
) -> None:
    connection = serving.connect()
    connection.sendall(method + b" " + path + b" HTTP/1.1\r\nHost: x\r\n" + LENGTH + b"\r\n" + JPEG)
    answer = connection.recv(65536).decode()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert "POST" in answer or method == b"HEAD"
    assert not stored(serving)


@pytest.mark.parametrize(
    "request_line", [b"CONNECT hub.example:443", b"GET http://hub.example/secret", b"OPTIONS *", b"GET //hub.example/"]
)
def test_proxy_forms_lead_nowhere(serving: Serving, request_line: bytes) -> None:
    connection = serving.connect()
    connection.sendall(request_line + b" HTTP/1.1\r\nHost: hub.example\r\n\r\n")
    assert read_answer(connection)[0] in {404, 405, 501}


# --- bodies ---

FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, JPEG),
        (FORM, b"serial=7&picture=" + BASE64),
        (FORM + "; charset=UTF-8", b"picture=" + quote_from_bytes(BASE64).encode() + b"&serial=7"),
        (FORM, b"picture=" + quote_from_bytes(JPEG).replace("%20", "+").encode()),
        ("text/plain", b"img=data:image/jpeg;base64," + BASE64),
        ("", BASE64),
        ("text/plain", b"\r\n" + base64.encodebytes(JPEG)),
        ("image/jpeg;base64", b"data:image/jpeg;base64," + base64.urlsafe_b64encode(JPEG).rstrip(b"=")),
        ("text/plain", JPEG.hex().encode()),
        ("application/json", json.dumps({"cam": {"id": 7, "photo": BASE64.decode()}}).encode()),
        # Forms that say one thing and send another.
        ("multipart/form-data; boundary=xyz", JPEG),
        ("multipart/form-data", JPEG),
        (
            "multipart/form-data",
            b'--abc\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + JPEG + b"\r\n--abc--\r\n",
        ),
        (
            "multipart/form-data; boundary=xyz",
            b'--abc\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + JPEG + b"\r\n--abc--\r\n",
        ),
    ],
)
def test_picture_is_found_in_whatever_form_it_comes(serving: Serving, content_type: str, body: bytes) -> None:
    head = f"POST /image?device=cam-7 HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    assert answer_to(serving, request)[0] == 200
    assert stored(serving) == [JPEG]
    assert serving.intake.last.device_id == "cam-7"


@pytest.mark.parametrize("body", [b"serial=7&battery=80", b'{"serial": 7}', b"hello", b"data:image/jpeg;base64,/9j/4"])
def test_what_holds_no_picture_is_refused(serving: Serving, body: bytes) -> None:
    head = b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert answer_to(serving, head + body)[0] in {415, 422}
