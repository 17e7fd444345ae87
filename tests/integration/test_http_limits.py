"""The limits of a connection, each with a raw socket; at the same time the canary for what we rely on in uvicorn."""

import contextlib
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest

from adapters.http import protocol
from adapters.http.connection import HEADER_BYTES_MAX
from gateway.settings import PRIVATE_NETWORKS, HttpSettings
from tests.fakes.http_server import Serving, is_closed_by_peer, read_answer, serving_http

JPEG = b"\xff\xd8\xff" + bytes(1000)
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(JPEG)


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Short deadlines."""
    with serving_http(settings=HttpSettings(header_timeout_s=0.3, body_timeout_s=0.4, idle_timeout_s=0.6)) as running:
        yield running


@pytest.fixture
def crowded() -> Iterator[Serving]:
    """Few places."""
    with serving_http(settings=HttpSettings(connections_max=4)) as running:
        yield running


@pytest.fixture
def patient() -> Iterator[Serving]:
    """As configured by default."""
    with serving_http() as running:
        yield running


def refused(serving: Serving, reason: str) -> float:
    return serving.meter.counts("gateway_http_connections_refused_total", reason=reason)


# --- deadlines ---


def test_header_that_dribbles_is_408_and_closed(serving: Serving) -> None:
    connection = serving.connect()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for byte in GET[:-2]:
            connection.send(bytes([byte]))
            time.sleep(0.02)
    assert read_answer(connection)[0] == 408
    assert is_closed_by_peer(connection)
    assert refused(serving, "header_timeout") == 1


def test_connection_that_says_nothing_is_closed(serving: Serving) -> None:
    assert serving.connect().recv(1) == b""
    assert refused(serving, "header_timeout") == 1


def test_body_that_dribbles_is_408_and_closed(serving: Serving) -> None:
    connection = serving.connect()
    connection.sendall(POST)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(40):
            connection.send(b"x")
            time.sleep(0.02)
    assert read_answer(connection)[0] == 408
    assert is_closed_by_peer(connection)
    assert refused(serving, "body_timeout") == 1
    assert (serving.intake.places_held, serving.intake.bytes_held) == (0, 0)
    assert not serving.intake.submissions


def test_body_that_never_comes_after_continue_is_408(serving: Serving) -> None:
    connection = serving.connect()
    connection.sendall(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
    assert read_answer(connection)[0] == 408


def test_idle_connection_is_closed_after_an_answer(serving: Serving) -> None:
    connection = serving.connect()
    connection.sendall(GET)
    assert read_answer(connection)[0] == 200
    assert connection.recv(1) == b""
    assert refused(serving, "idle_timeout") == 1


def test_second_header_has_the_header_deadline_and_not_the_idle_one(serving: Serving) -> None:
    connection = serving.connect()
    connection.sendall(GET + b"GET /hea")
    assert read_answer(connection)[0] == 200
    assert read_answer(connection)[0] == 408


def test_connection_is_idle_too_after_a_drained_body(serving: Serving) -> None:
    # An answer that overtook the body: stock uvicorn never arms its timer again.
    connection = serving.connect()
    connection.sendall(b"DELETE /image HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
    assert read_answer(connection)[0] == 405
    connection.sendall(b"body")
    assert connection.recv(1) == b""
    assert refused(serving, "idle_timeout") == 1


def test_work_has_no_deadline_of_the_connection(serving: Serving) -> None:
    serving.intake.submit_s = 1
    connection = serving.connect()
    connection.sendall(POST + JPEG)
    assert read_answer(connection)[0] == 200


def test_client_that_does_not_read_its_answers_is_cut_off(serving: Serving) -> None:
    connection = serving.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    large = b'{"a":"' + b"x" * 60_000 + b'"}'
    head = b"POST /v1/devices/d/readings HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: %d\r\n\r\n"
    connection.sendall(head % len(large) + large)
    assert read_answer(connection)[0] == 200
    endless = b"GET /v1/devices/d/events/k HTTP/1.1\r\nHost: x\r\n\r\n" * 100_000
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.sendall(endless)
    assert refused(serving, "write_timeout") == 1


# --- caps ---


def test_client_of_another_network_is_told_403_and_closed() -> None:
    elsewhere = HttpSettings(listen="127.0.0.1:0", allowed_networks=(IPv4Network("192.168.0.0/16"),))
    with serving_http(settings=elsewhere) as serving:
        stranger = serving.connect()
        stranger.sendall(POST + JPEG)
        assert read_answer(stranger)[0] == 403
        assert is_closed_by_peer(stranger)
        assert refused(serving, "network") == 1
    with serving_http(settings=elsewhere.model_copy(update={"allowed_networks": PRIVATE_NETWORKS})) as serving:
        neighbour = serving.connect()
        neighbour.sendall(GET)
        assert read_answer(neighbour)[0] == 200


@pytest.mark.parametrize("name", [b"X-Forwarded-For", b"X-Real-IP", b"Forwarded", b"Client-IP"])
def test_whatever_a_client_says_of_its_address_counts_for_nothing(name: bytes) -> None:
    inside = b"for=192.168.0.7" if name == b"Forwarded" else b"192.168.0.7"
    claim = b"Host: x\r\n" + name + b": " + inside + b"\r\n"
    elsewhere = HttpSettings(listen="127.0.0.1:0", allowed_networks=(IPv4Network("192.168.0.0/16"),))
    with serving_http(settings=elsewhere) as serving:
        stranger = serving.connect()
        stranger.sendall(GET.replace(b"Host: x\r\n", claim))
        assert read_answer(stranger)[0] == 403
    with serving_http() as serving:  # nor for the id of a device that says none
        anybody = serving.connect()
        anybody.sendall((POST + JPEG).replace(b"Host: x\r\n", claim))
        assert read_answer(anybody)[0] == 200
        assert serving.intake.last.device_id == "ip-127-0-0-1"


def test_connection_beyond_the_cap_is_told_503_at_once(crowded: Serving) -> None:
    kept = [crowded.connect() for _ in range(4)]
    for connection in kept:
        connection.sendall(GET)
        assert read_answer(connection)[0] == 200
    extra = crowded.connect()
    extra.sendall(POST + JPEG)
    status, headers, _ = read_answer(extra)
    assert status == 503
    assert int(headers["retry-after"]) >= 1
    assert headers["connection"] == "close"
    assert is_closed_by_peer(extra)
    assert refused(crowded, "connection_cap") == 1


def test_connection_beyond_the_cap_reads_its_answer_after_a_long_body(crowded: Serving) -> None:
    kept = [crowded.connect() for _ in range(4)]
    extra = crowded.connect()
    extra.sendall(POST + bytes(8 * 1024 * 1024))  # closing with these unread would reset the connection
    assert read_answer(extra)[0] == 503
    assert len(kept) == 4


def test_place_of_a_closed_connection_is_free_again(crowded: Serving) -> None:
    for _ in range(12):
        with crowded.connect() as connection:
            connection.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert read_answer(connection)[0] == 200
            assert is_closed_by_peer(connection)


def test_connections_told_to_leave_do_not_hold_places(crowded: Serving) -> None:
    kept = [crowded.connect() for _ in range(4)]
    turned_away = [crowded.connect() for _ in range(8)]
    assert [read_answer(connection)[0] for connection in turned_away] == [503] * 8
    for connection in kept:
        connection.close()
    for _ in range(100):
        with crowded.connect() as again:
            again.sendall(GET)
            if (status := read_answer(again)[0]) == 200:
                break
        time.sleep(0.02)
    assert status == 200


def test_crowd_beyond_the_parting_cap_is_hung_up_on(monkeypatch: pytest.MonkeyPatch, crowded: Serving) -> None:
    monkeypatch.setattr(protocol, "PARTING_MAX", 2)
    kept = [crowded.connect() for _ in range(4)]
    crowd = [crowded.connect() for _ in range(6)]
    time.sleep(0.2)
    answered = 0
    for connection in crowd:
        with contextlib.suppress(ConnectionResetError):
            answered += read_answer(connection)[0] == 503
    assert answered == 2
    assert len(kept) == 4


def test_large_header_is_431(patient: Serving) -> None:
    connection = patient.connect()
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * HEADER_BYTES_MAX + b"\r\n\r\n")
    assert read_answer(connection)[0] == 431
    assert refused(patient, "header_size") == 1


def test_header_without_end_is_431(patient: Serving) -> None:
    connection = patient.connect()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(2 * HEADER_BYTES_MAX // 100):
            connection.sendall(b"x: " + b"a" * 95 + b"\r\n" if _ else b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert read_answer(connection)[0] == 431


def test_endless_body_after_an_early_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch, patient: Serving) -> None:
    monkeypatch.setattr(protocol, "DISCARD_BYTES_MAX", 100_000)
    connection = patient.connect()
    connection.sendall(b"DELETE /image HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n")
    assert read_answer(connection)[0] == 405
    endless = bytes(64 * 1024 * 1024)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        connection.sendall(endless)
    assert refused(patient, "discard_cap") == 1


def test_body_of_gigabytes_is_refused_by_its_announcement(patient: Serving) -> None:
    connection = patient.connect()
    connection.sendall(b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\n")
    status, headers, _ = read_answer(connection)
    assert status == 413
    assert headers["connection"] == "close"


# --- spelling ---


@pytest.mark.parametrize(
    "request_line",
    [
        b"post /image HTTP/1.1",
        b"Post /image HTTP/1.1",
        b"POST http://gateway.local:8080/image HTTP/1.1",
        b"POST HTTP://gateway.local/image?device=cam HTTP/1.1",
        b"post https://gateway.local/image HTTP/1.1",
    ],
)
def test_weak_clients_spelling_is_put_right(patient: Serving, request_line: bytes) -> None:
    connection = patient.connect()
    connection.sendall(request_line + b"\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(JPEG) + JPEG)
    assert read_answer(connection)[0] == 200


def test_absolute_target_without_path_is_the_banner(patient: Serving) -> None:
    connection = patient.connect()
    connection.sendall(b"GET http://gateway.local HTTP/1.1\r\nHost: x\r\n\r\n")
    status, _, body = read_answer(connection)
    assert status == 200
    assert body.startswith(b"gateway-bridge")


def test_http_1_0_without_host_is_served_and_closed(patient: Serving) -> None:
    connection = patient.connect()
    connection.sendall(b"POST /image HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(JPEG) + JPEG)
    assert read_answer(connection)[0] == 200
    assert is_closed_by_peer(connection)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /image HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n bad header\r\n: y\r\n\r\n",
    ],
)
def test_what_is_not_http_is_400_and_closed(patient: Serving, garbage: bytes) -> None:
    connection = patient.connect()
    connection.sendall(garbage)
    assert read_answer(connection)[0] == 400
    assert is_closed_by_peer(connection)
    assert refused(patient, "bad_request") == 1


def test_unknown_transfer_coding_is_501(patient: Serving) -> None:
    connection = patient.connect()
    connection.sendall(b"POST /image HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n")
    assert read_answer(connection)[0] == 501


def test_pipelined_requests_are_answered_in_order(patient: Serving) -> None:
    connection = patient.connect()
    connection.sendall(GET + POST + JPEG + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    assert data.count(b"HTTP/1.1 200 ") == 3


def test_answer_leaves_in_one_piece(patient: Serving) -> None:
    connection = patient.connect()
    connection.sendall(GET)
    assert connection.recv(65536).endswith(b'{"alive":true}')
