"""Requests that two readers would cut differently: each is refused, or read as RFC 9112 reads it.

Behind a proxy, a request that the proxy takes for a body and we for a request would come from nobody. So each form
carries one that must not be answered: a reading of the device "smuggled".
"""

import contextlib
import re
import socket
from urllib.parse import urlsplit

import requests

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.siege import under_watch

ANSWER = re.compile(rb"HTTP/1\.1 \d{3} ")


def hidden(key: str) -> bytes:
    return (
        b"POST /v1/devices/smuggled/readings HTTP/1.1\r\nHost: x\r\nIdempotency-Key: " + key.encode() + b"\r\n"
        b"Content-Length: 7\r\n\r\n"
        b'{"n":1}'
    )


POST = b"POST /v1/devices/carrier/readings HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
N = len(hidden("00"))


def length(value: bytes) -> bytes:
    return b"Content-Length: " + value + b"\r\n"


# What would be a request's end for one reader, with what comes after it.
FORMS = {
    "CL.TE": POST + length(b"5") + CHUNKED + b"\r\n0\r\n\r\n",
    "TE.CL": POST + CHUNKED + length(b"4") + b"\r\n0\r\n\r\n",
    "two lengths": POST + length(b"0") + length(b"%d" % N) + b"\r\n",
    "two lengths in one line": POST + length(b"0, %d" % N) + b"\r\n",
    "length with a sign": POST + length(b"+0") + b"\r\n",
    "length below nothing": POST + length(b"-1") + b"\r\n",
    "length in hexadecimal": POST + length(b"0x0") + b"\r\n",
    "length with an underscore": POST + length(b"0_0") + b"\r\n",
    "length in other digits": POST + length("\u0660".encode()) + b"\r\n",
    "length beyond any number": POST + length(b"9" * 5000) + b"\r\n",
    "length folded over two lines": POST + b"Content-Length: 0\r\n %d\r\n\r\n" % N,
    "space before the colon": POST + b"Content-Length : 0\r\n\r\n",
    "tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
    "header that begins with a space": POST + b" Content-Length: %d\r\n\r\n" % N,
    "coding folded over two lines": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bare CR in a value": POST + b"X: a\rContent-Length: 0\r\n\r\n",
    "bare CR as a line's end": POST + b"Content-Length: 0\r\r\n\r\n",
    "NUL in a value": POST + b"X: a\x00b\r\n" + length(b"0") + b"\r\n",
    "NUL in a name": POST + b"Content-Length\x00: 0\r\n\r\n",
    "coding twice": POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "coding and identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "identity alone": POST + b"Transfer-Encoding: identity\r\n" + length(b"0") + b"\r\n",
    "coding with a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "coding in quotes": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n" + length(b"0") + b"\r\n",
    "coding in 1.0": POST.replace(b"1.1", b"1.0") + CHUNKED + length(b"0") + b"\r\n0\r\n\r\n",
    "chunk without its end": POST + CHUNKED + b"\r\n7\r\n" + b'{"n":1}XX0\r\n\r\n',
    "chunk size with a sign": POST + CHUNKED + b"\r\n-0\r\n\r\n",
    "chunk size with 0x": POST + CHUNKED + b"\r\n0x0\r\n\r\n",
    "chunk size beyond any number": POST + CHUNKED + b"\r\n" + b"f" * 40 + b"\r\n",
    "chunk extension with a line feed": POST + CHUNKED + b"\r\n7;a\n" + b'{"n":1}\r\n0\r\n\r\n'.replace(b"\r\n", b"\n"),
    "two request lines": b"GET / HTTP/1.1\r\n" + POST + length(b"0") + b"\r\n",
    "two versions": b"POST /v1/devices/carrier/readings HTTP/1.1 HTTP/1.1\r\nHost: x\r\n" + length(b"0") + b"\r\n",
    "no version": b"GET /v1/devices/carrier/readings\r\n\r\n",
    "version 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "after close": b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "upgrade": b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n",
    "connect": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "body of a refused method": b"PUT /image HTTP/1.1\r\nHost: x\r\n" + length(b"%d" % N) + b"\r\n",
    "body of an unknown path": b"POST /nothing HTTP/1.1\r\nHost: x\r\n" + length(b"%d" % N) + b"\r\n",
    "body of a get": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + length(b"%d" % N) + b"\r\n",
}


def said_to(gateway: GatewayProcess, data: bytes) -> bytes:
    """Send all of it, and return everything that is answered until the gateway closes or has no more to say."""
    where = urlsplit(gateway.http)
    answer = b""
    with socket.create_connection((where.hostname or "", where.port or 0), 5) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        connection.settimeout(0.5)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while chunk := connection.recv(65536):
                answer += chunk
    return answer


def is_stored(gateway: GatewayProcess, key: str) -> bool:
    return requests.get(f"{gateway.http}/v1/devices/smuggled/events/{key}", timeout=10).status_code == 200


def test_nothing_hides_in_another_request(gateway: GatewayProcess) -> None:
    found = {}
    with under_watch(gateway) as watch:
        for number, (form, data) in enumerate(FORMS.items(), start=10):
            answer = said_to(gateway, data + hidden(str(number)))
            if len(ANSWER.findall(answer)) != 1 or is_stored(gateway, str(number)):
                found[form] = answer
    assert found == {}
    watch.assert_unharmed(growth_mib_max=20)


def test_the_hidden_request_would_be_stored_if_it_were_one(gateway: GatewayProcess) -> None:
    data = hidden("99")
    assert said_to(gateway, data.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n")).startswith(
        b"HTTP/1.1 200"
    )
    assert is_stored(gateway, "99")
