"""Everything too large, too deep or too many that a request can hold, and paths that lead elsewhere."""

import contextlib
import json
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.siege import under_watch

BOUNDARY = b"b"


def request(target: bytes, *headers: bytes, body: bytes = b"", method: bytes = b"POST") -> bytes:
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: x", b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])


def readings(body: bytes) -> bytes:
    return request(b"/v1/devices/big/readings", b"Content-Type: application/json", body=body)


def form(*parts: bytes, end: bytes = b"--b--\r\n", boundary: bytes = BOUNDARY) -> bytes:
    body = b"".join(b"--b\r\n" + part for part in parts) + end
    return request(b"/image", b"Content-Type: multipart/form-data; boundary=" + boundary, body=body)


def part(name: bytes, value: bytes, *headers: bytes) -> bytes:
    disposition = b'Content-Disposition: form-data; name="' + name + b'"'
    return b"\r\n".join([disposition, *headers, b"", value]) + b"\r\n"


OVERSIZED: dict[str, Callable[[], bytes]] = {
    "header": lambda: request(b"/image", b"X: " + b"a" * 2_000_000, body=b"x"),
    "header name": lambda: request(b"/image", b"a" * 2_000_000 + b": x", body=b"x"),
    "ten thousand headers": lambda: request(b"/image", *[b"X-%d: y" % n for n in range(10_000)], body=b"x"),
    "the same header ten thousand times": lambda: request(b"/image", *[b"Cookie: a=b"] * 10_000, body=b"x"),
    "target": lambda: request(b"/" + b"a" * 2_000_000),
    "path of many parts": lambda: request(b"/a" * 7_000),
    "query": lambda: request(b"/image?device=" + b"a" * 2_000_000, body=b"x"),
    "query of many fields": lambda: request(b"/image?" + b"&".join([b"d=1"] * 3_900) + b"&device=%20", body=b"x"),
    "percent signs": lambda: request(b"/image?device=" + b"%25" * 5_000, body=b"x"),
    "method": lambda: request(b"/image", method=b"A" * 2_000_000),
    "body": lambda: request(b"/image", body=bytes(12 * 1024 * 1024)),
    "announced body": lambda: b"POST /image HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
    "reading": lambda: readings(b'{"a":"' + b"x" * 1_000_000 + b'"}'),
    "reading nested in itself": lambda: readings(b"[" * 60_000),
    "reading nested in objects": lambda: readings(b'{"a":' * 12_000 + b"1" + b"}" * 12_000),
    "readings by the thousand": lambda: readings(b"[" + b",".join([b"{}"] * 21_000) + b"]"),
    "number of many digits": lambda: readings(b'{"a":' + b"9" * 60_000 + b"}"),
    "number with a huge exponent": lambda: readings(b'{"a":1e999999999}'),
    "the same key again and again": lambda: readings(b"{" + b",".join([b'"a":1'] * 9_000) + b"}"),
    "senml with a long base name": lambda: readings(
        b'[{"bn":"' + b"n" * 30_000 + b'","n":"a","v":1}' + b',{"v":1}' * 3_000 + b"]"
    ),
    "parts": lambda: form(*[part(b"a%d" % n, b"x") for n in range(10_000)]),
    "part header": lambda: form(part(b"imageData", b"x", b"X: " + b"a" * 1_000_000)),
    "part headers": lambda: form(part(b"imageData", b"x", *[b"X-%d: y" % n for n in range(50_000)])),
    "field name": lambda: form(part(b"a" * 1_000_000, b"x")),
    "field before the picture": lambda: form(part(b"a", bytes(9 * 1024 * 1024)), part(b"imageData", b"x")),
    "form without an end": lambda: form(part(b"imageData", bytes(1_000_000)), end=b""),
    "form of line ends": lambda: form(end=b"\r\n" * 1_000_000),
    "boundary": lambda: form(part(b"imageData", b"x"), boundary=b"b" * 10_000),
    "idempotency key": lambda: request(b"/v1/devices/big/images", b"Idempotency-Key: " + b"k" * 15_000, body=b"x"),
    "secret": lambda: request(b"/image", b"Authorization: Basic " + b"QTpB" * 3_900, body=b"x"),
    "url": lambda: request(b"/url", body=json.dumps({"url": "http://a/" + "a" * 100_000}).encode()),
}

ELSEWHERE = [
    b"/../../../../etc/passwd",
    b"/image/../../etc/passwd",
    b"/%2e%2e/%2e%2e/etc/passwd",
    b"/..%2f..%2fetc%2fpasswd",
    b"/..%5c..%5cetc%5cpasswd",
    b"/.%00./etc/passwd",
    b"/etc/passwd%00.png",
    b"//etc/passwd",
    b"/%252e%252e/etc/passwd",
    b"/%c0%ae%c0%ae/etc/passwd",
    b"/v1/devices/..%2f..%2fetc/images",
    b"/v1/devices/../images",
    b"/v1/devices/%2e%2e/events/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    b"/v1/devices/a%00b/images",
    b"/v1/devices/a%0d%0aX:y/images",
    b"/v1/devices/a/events/..",
    b"/v1/devices//images",
    b"/v1/devices/a;b/images",
    b"/customvision/v3.0/Prediction/../../../etc/passwd",
    b"/customvision/v3.0/Prediction/p/classify/iterations/..%2f..%2f/image",
    b"file:///etc/passwd",
    b"http://169.254.169.254/latest/meta-data/",
    b"ftp://x/etc/passwd",
    b"*",
    b"etc/passwd",
]
DOCS = [b"/docs/../../../../etc/passwd", b"/docs/..%2f..%2f..%2f..%2fetc%2fpasswd", b"/docs//etc/passwd", b"/docs/%00"]


def answer_to(url: str, data: bytes) -> bytes:
    """Return what is answered to ``data``; what is not taken any more stays unsent."""
    where = urlsplit(url)
    answer = b""
    with socket.create_connection((where.hostname or "", where.port or 0), 20) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        with contextlib.suppress(ConnectionError):
            while b"\r\n\r\n" not in answer and (chunk := connection.recv(65536)):
                answer += chunk
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def test_everything_oversized_is_refused_in_words(gateway: GatewayProcess) -> None:
    with under_watch(gateway) as watch:
        answers = {name: answer_to(gateway.http, make()) for name, make in OVERSIZED.items()}
    assert {name: answer[:200] for name, answer in answers.items() if not 400 <= status(answer) < 500} == {}
    watch.assert_unharmed(growth_mib_max=60)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_no_path_leads_to_a_file(gateway: GatewayProcess, method: bytes) -> None:
    places = [(gateway.http, path) for path in ELSEWHERE] + [(gateway.admin, path) for path in ELSEWHERE + DOCS]
    found = {}
    for url, path in places:
        answer = answer_to(url, request(path, method=method, body=b"x" if method == b"POST" else b""))
        if not 400 <= status(answer) < 500 or b"root:" in answer:
            found[path] = answer[:200]
    assert found == {}
