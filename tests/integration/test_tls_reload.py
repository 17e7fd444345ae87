"""A listener's certificate while it serves: changed, damaged, not covering the host any more; and devices' dates."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest
import structlog

from gateway.settings import HttpSettings
from gateway.simulators.iot_hub.certificates import CertificateAuthority, CertificateFiles
from gateway.tls.certificates import Certificate, LocalCertificate, OwnCertificate
from gateway.tls.server import LOOK_EVERY_S, RENEW_LOOK_EVERY_S, ClientCertificates, ServerTls
from tests.fakes.http_server import Serving, read_answer, serving_http
from tests.fakes.intake import ManualClock

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority(tmp_path / "authority")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def server_tls(
    certificate: Certificate,
    clock: ManualClock,
    *,
    clients: ClientCertificates = "off",
    client_ca_file: Path = Path("none"),
    check_client_dates: bool = False,
) -> ServerTls:
    return ServerTls(
        certificate=certificate,
        clients=clients,
        client_ca_file=client_ca_file,
        check_client_dates=check_client_dates,
        clock=clock,
    )


@contextmanager
def connected(
    serving: Serving, shown: CertificateFiles | None = None, *, local: str = "127.0.0.1"
) -> Iterator[ssl.SSLSocket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    with context.wrap_socket(serving.connect(local=local)) as connection:
        yield connection


def status_over(connection: ssl.SSLSocket) -> int:
    connection.sendall(GET)
    return read_answer(connection)[0]


def certificate_of(connection: ssl.SSLSocket) -> bytes:
    return connection.getpeercert(binary_form=True) or b""


def test_changed_certificate_is_shown_to_newcomers_and_open_connections_stay(
    authority: CertificateAuthority, clock: ManualClock
) -> None:
    files = authority.issue("server", common_name="localhost", for_server=True)
    tls = server_tls(OwnCertificate(files.certificate, files.key), clock)
    with serving_http(tls=tls) as serving, connected(serving) as early:
        assert status_over(early) == 200
        authority.issue("server", common_name="localhost", for_server=True)
        clock.advance(LOOK_EVERY_S)
        with connected(serving) as late:
            assert status_over(late) == 200
            assert certificate_of(late) != certificate_of(early)
        assert status_over(early) == 200


def test_half_changed_pair_leaves_the_old_one_in_force_and_is_told_once(
    authority: CertificateAuthority, clock: ManualClock
) -> None:
    files = authority.issue("server", common_name="localhost", for_server=True)
    before = files.key.read_bytes()
    with (
        structlog.testing.capture_logs() as logs,
        serving_http(tls=server_tls(OwnCertificate(files.certificate, files.key), clock)) as serving,
    ):
        with connected(serving) as early:
            shown = certificate_of(early)
        authority.issue("server", common_name="localhost", for_server=True)
        fresh = files.key.read_bytes()
        files.key.write_bytes(before)  # the certificate is new already, its key not yet
        for _ in range(2):
            clock.advance(LOOK_EVERY_S)
            with connected(serving) as between:
                assert certificate_of(between) == shown
        files.key.write_bytes(fresh)
        clock.advance(LOOK_EVERY_S)
        with connected(serving) as late:
            assert certificate_of(late) != shown
    assert [entry["event"] for entry in logs if entry["event"].startswith("certificate")] == [
        "certificate_unusable",
        "certificate_read",
    ]


def test_new_address_of_the_host_gets_into_the_local_certificate_without_a_restart(
    tmp_path: Path, clock: ManualClock
) -> None:
    names = ["localhost", "10.0.0.5"]
    local = LocalCertificate(tmp_path, lambda: tuple(names))
    with serving_http(tls=server_tls(local, clock)) as serving:
        key = local.key_file.read_bytes()
        names[1] = "10.0.0.6"
        clock.advance(RENEW_LOOK_EVERY_S)
        with connected(serving):
            pass
        until(lambda: not local.is_due)
        clock.advance(LOOK_EVERY_S)
        context = ssl.create_default_context(cafile=local.trusted_file)
        for name in ("10.0.0.6", "10.0.0.5"):  # what it had stays
            with context.wrap_socket(serving.connect(), server_hostname=name) as connection:
                assert status_over(connection) == 200
        assert local.key_file.read_bytes() == key


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_certificate_of_a_device_that_has_run_out_is_good_unless_dates_are_checked(
    authority: CertificateAuthority, clock: ManualClock
) -> None:
    files = authority.issue("server", common_name="localhost", for_server=True)
    own = OwnCertificate(files.certificate, files.key)
    ended = authority.issue(
        "cam-1",
        common_name="cam-1",
        for_server=False,
        not_before=datetime(2020, 1, 1, tzinfo=UTC),
        not_after=datetime(2021, 1, 1, tzinfo=UTC),
    )
    lenient = server_tls(own, clock, clients="required", client_ca_file=authority.ca_file)
    with serving_http(tls=lenient) as serving, connected(serving, ended) as connection:
        body = b"\xff\xd8\xff..."
        connection.sendall(b"POST /image HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert read_answer(connection)[0] == 200
        assert serving.intake.last.device_id == "cam-1"
    strict = server_tls(own, clock, clients="required", client_ca_file=authority.ca_file, check_client_dates=True)
    with (
        serving_http(tls=strict) as serving,
        pytest.raises((ssl.SSLError, ConnectionError)),
        connected(serving, ended) as connection,
    ):
        status_over(connection)


def test_last_words_arrive_through_tls_and_handshakes_that_never_end_leave_room(
    authority: CertificateAuthority, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.tls.door.HANDSHAKES_MAX", 2)
    files = authority.issue("server", common_name="localhost", for_server=True)
    few = HttpSettings(connections_max=2)
    with serving_http(settings=few, tls=server_tls(OwnCertificate(files.certificate, files.key), clock)) as serving:
        silent: list[socket.socket] = [serving.connect() for _ in range(6)]
        with connected(serving) as connection:
            assert status_over(connection) == 200
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert read_answer(connection)[0] == 400
        assert len(silent) == 6


def test_connections_that_never_end_their_tls_keep_nobody_out(
    authority: CertificateAuthority, clock: ManualClock
) -> None:
    files = authority.issue("server", common_name="localhost", for_server=True)
    few = HttpSettings(connections_max=2)
    tls = server_tls(OwnCertificate(files.certificate, files.key), clock)
    with serving_http(settings=few, tls=tls) as serving, connected(serving) as one, connected(serving) as another:
        for connection in (one, another):
            connection.sendall(GET.replace(b"Host: x", b"Host: x\r\nConnection: close"))
            assert read_answer(connection)[0] == 200
        # We have closed; they read no more and never answer with a close of their own, and hold both places.
        with connected(serving, local="127.0.0.2") as other:
            assert status_over(other) == 200


def test_device_that_knows_no_tls_is_served_where_its_address_is_listed(
    authority: CertificateAuthority, clock: ManualClock
) -> None:
    files = authority.issue("server", common_name="localhost", for_server=True)
    own = OwnCertificate(files.certificate, files.key)
    body = b"\xff\xd8\xff" + bytes(100_000)
    posted = b"POST /image?device=old HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    few = HttpSettings(connections_max=2, plain_networks=(ip_network("127.0.0.1/32"),))
    with serving_http(settings=few, tls=server_tls(own, clock)) as serving:
        plain = serving.connect()
        for _ in range(2):  # the connection lives on
            plain.sendall(posted)
            assert read_answer(plain)[0] == 200
        assert serving.intake.last.device_id == "old"
        with connected(serving) as secured:
            assert status_over(secured) == 200
    elsewhere = HttpSettings(plain_networks=(ip_network("10.0.0.0/8"),))
    with serving_http(settings=elsewhere, tls=server_tls(own, clock)) as serving:
        plain = serving.connect()
        plain.sendall(GET)
        assert read_answer(plain)[0] == 400
