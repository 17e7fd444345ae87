import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest

from gateway import RELEASED_AT
from gateway.cloud.diagnosis import diagnose

NOW = RELEASED_AT + timedelta(days=31)
NAMED: dict[str, type[Exception]] = {
    name: type(name, (Exception,), {})
    for name in ("ClientError", "CredentialError", "ConnectionFailedError", "OperationTimeout", "OperationCancelled")
}


def _wrapped(cause: BaseException | None, name: str = "ConnectionFailedError") -> Exception:
    inner = NAMED[name]("inner")
    inner.__cause__ = cause
    outer = NAMED["ClientError"]("outer")
    outer.__cause__ = inner
    return outer


def _certificate_error(said: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_message = said
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (_wrapped(socket.gaierror(-2, "Name or service not known")), "dns_failed"),
        (_wrapped(ConnectionRefusedError(111, "refused")), "tcp_refused"),
        (_wrapped(TimeoutError("timed out")), "tcp_timeout"),
        (_wrapped(TimeoutError("_ssl.c:989: The handshake operation timed out")), "tls_timeout"),
        (_wrapped(OSError(101, "Network is unreachable")), "network_down"),
        (_wrapped(ssl.SSLError(1, "wrong version number")), "tls_failed"),
        (_wrapped(_certificate_error("self-signed certificate in certificate chain")), "certificate_refused"),
        (_wrapped(_certificate_error("Hostname mismatch")), "certificate_refused"),
        (_wrapped(_certificate_error("certificate is not yet valid")), "clock_wrong"),
        (_wrapped(FileNotFoundError(2, "No such file", "/x/ca.pem")), "file_unreadable"),
        (_wrapped(None, "CredentialError"), "credentials_refused"),
        (_wrapped(None, "OperationTimeout"), "connect_timeout"),
        (_wrapped(None, "OperationCancelled"), "dropped"),
        (_wrapped(None), "refused_by_hub"),
        (NAMED["ClientError"]("odd"), "sdk_error"),
    ],
)
def test_what_happened_is_found_below_the_sdks_errors(error: Exception, reason: str) -> None:
    assert diagnose(error, now=NOW).reason == reason


def test_refused_credentials_on_a_clock_from_the_past_blame_the_clock() -> None:
    found = diagnose(_wrapped(None, "CredentialError"), now=datetime(1970, 1, 1, tzinfo=UTC))
    assert found.reason == "clock_wrong"
    assert "1970-01-01" in found.detail


def test_an_expired_certificate_on_a_right_clock_is_the_hubs_fault() -> None:
    assert diagnose(_wrapped(_certificate_error("certificate has expired")), now=NOW).reason == "certificate_refused"


def test_the_proxys_own_cause_is_found_in_its_attribute() -> None:
    proxy_error = type("ProxyError", (OSError,), {})
    error = proxy_error("Error connecting to HTTP proxy")
    error.socket_err = ConnectionRefusedError(111, "refused")
    assert diagnose(_wrapped(error), now=NOW).reason == "tcp_refused"


@pytest.mark.parametrize(("said", "reason"), [("407: Refused", "proxy_refused"), ("403: Refused", "proxy_failed")])
def test_a_proxys_no_is_told_apart(said: str, reason: str) -> None:
    proxy_error = type("HTTPError", (type("ProxyError", (OSError,), {}),), {})
    assert diagnose(_wrapped(proxy_error(said)), now=NOW).reason == reason
