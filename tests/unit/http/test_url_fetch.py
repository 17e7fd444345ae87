"""The URL fetcher against a raw loopback server, with name resolution in the test's hands."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.http.refusals import UrlAnswerUnusable, UrlFetchOff, UrlNotFetched, UrlRefused
from adapters.http.url_fetch import UrlFetcher, url_of_document
from gateway.errors import IntakeFull, PayloadTooLarge, RequestInvalid
from gateway.settings import UrlFetchSettings
from gateway.web_targets import UrlInvalid, parse_url
from tests.fakes.intake import FakeIntake

PICTURE = b"\xff\xd8\xff" + bytes(5000)
LOOPBACK = (ip_network("127.0.0.0/8"),)


def ok(body: bytes = PICTURE, extra: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def redirect(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


@dataclass
class Origin:
    """A server that answers each path with raw bytes; ``asked`` keeps the request heads."""

    answers: dict[str, bytes]
    port: int = 0
    hang: bool = False
    asked: list[str] = field(default_factory=list)
    served: list[asyncio.Task[None] | None] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            writer.write(self.answers[head.split()[1]])
            await writer.drain()
            if self.hang:
                await reader.read()


@asynccontextmanager
async def origin_of(
    answers: dict[str, bytes], *, hang: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Origin]:
    origin = Origin(answers, hang=hang)
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, ssl=tls)
    origin.port = server.sockets[0].getsockname()[1]
    try:
        yield origin
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*[task for task in origin.served if task]), 5)
        await asyncio.sleep(0.01)  # transports close in the loop's next turns


def resolves_to(*addresses: str) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


def fetcher(
    *hosts: str, networks: bool = True, timeout_s: float = 5, addresses: Sequence[str] = ("127.0.0.1",)
) -> UrlFetcher:
    settings = UrlFetchSettings(allowed_hosts=hosts, allowed_networks=LOOPBACK if networks else (), timeout_s=timeout_s)
    return UrlFetcher(settings=settings, resolve=resolves_to(*addresses))


async def fetch(chosen: UrlFetcher, url: str, *, bytes_max: int = 10_000, intake: FakeIntake | None = None) -> bytes:
    reservation = (intake or FakeIntake()).reserve()
    return await chosen.fetch(url, bytes_max=bytes_max, reservation=reservation)


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "camera.local")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("camera.local")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "camera.pem"
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form) + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_picture_is_fetched_from_an_allowed_host() -> None:
    async with origin_of({"/a.jpg?x=1": ok()}) as origin:
        host = f"camera.local:{origin.port}"
        assert await fetch(fetcher(host), f"http://{host}/a.jpg?x=1") == PICTURE
        assert f"\r\nhost: {host}\r\n" in origin.asked[0].lower()


async def test_chunked_and_unframed_answers_are_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with origin_of({"/c": chunked, "/u": b"HTTP/1.0 200 OK\r\n\r\nabc"}) as origin:
        host = f"camera.local:{origin.port}"
        assert await fetch(fetcher(host), f"http://{host}/c") == b"abcde"
        assert await fetch(fetcher(host), f"http://{host}/u") == b"abc"


async def test_fetcher_without_hosts_is_off_and_says_which_setting_opens_it() -> None:
    with pytest.raises(UrlFetchOff) as refused:
        await fetch(fetcher(), "http://camera.local/")
    assert "http.url_fetch.allowed_hosts" in refused.value.cure


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://camera.local/a",
        "gopher://camera.local/",
        "//camera.local/a",
        "http:///a",
        "http://",
        "http://user:pass@camera.local/a",
        "http://camera.local@evil.example/a",
        "http://camera.local:99999/a",
        "http://[::1/a",
        "http://camera.local/a b",
        "http://camera.local/\r\nX: y",
        "http://cämera.local/",
        "http://camera.local/" + "a" * 3000,
        "http://[fe80::1%25eth0]/",
    ],
)
def test_url_that_is_not_plain_http_is_refused(url: str) -> None:
    with pytest.raises(UrlInvalid):
        parse_url(url)


@pytest.mark.parametrize("url", ["http://other.local/", "http://camera.local:8080/", "http://127.0.0.1/"])
async def test_host_or_port_that_is_not_listed_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        await fetch(fetcher("camera.local"), url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "ff02::1",
    ],
)
async def test_private_address_behind_an_allowed_name_is_refused(address: str) -> None:
    chosen = fetcher("camera.local", networks=False, addresses=(address,))
    with pytest.raises(UrlRefused, match="private"):
        await fetch(chosen, "http://camera.local/")


def test_listed_range_holds_for_ipv4_in_ipv6_clothing_too() -> None:
    assert fetcher("camera.local")._is_open("::ffff:127.0.0.1")


async def test_connection_goes_to_the_checked_address_whatever_the_name_says_next() -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])

    async def rebinding(host: str, port: int) -> Sequence[str]:
        return next(answers)

    async with origin_of({"/": ok()}) as origin:
        host = f"camera.local:{origin.port}"
        settings = UrlFetchSettings(allowed_hosts=(host,), allowed_networks=LOOPBACK)
        assert await fetch(UrlFetcher(settings=settings, resolve=rebinding), f"http://{host}/") == PICTURE
        assert next(answers) == ["169.254.169.254"]  # asked once only


async def test_redirects_on_the_same_host_are_followed_twice() -> None:
    answers = {"/1": redirect("/2"), "/2": redirect("3?x"), "/3?x": ok()}
    async with origin_of(answers) as origin:
        host = f"camera.local:{origin.port}"
        assert await fetch(fetcher(host), f"http://{host}/1") == PICTURE


async def test_third_redirect_is_refused() -> None:
    async with origin_of({"/": redirect("/")}) as origin:
        host = f"camera.local:{origin.port}"
        with pytest.raises(UrlAnswerUnusable):
            await fetch(fetcher(host), f"http://{host}/")
        assert len(origin.asked) == 3


@pytest.mark.parametrize("location", ["http://other.local/", "//other.local/x", "file:///etc/passwd", "http://[x/"])
async def test_redirect_elsewhere_is_refused(location: str) -> None:
    async with origin_of({"/": redirect(location)}) as origin:
        host = f"camera.local:{origin.port}"
        with pytest.raises((UrlRefused, UrlAnswerUnusable)):
            await fetch(fetcher(host, "other.local"), f"http://{host}/")


async def test_redirect_to_another_port_of_the_host_must_be_listed() -> None:
    async with origin_of({"/": redirect("http://camera.local:1/")}) as origin:
        host = f"camera.local:{origin.port}"
        with pytest.raises(UrlRefused):
            await fetch(fetcher(host), f"http://{host}/")


async def test_byte_cap_holds_while_reading() -> None:
    async with origin_of({"/": ok()}) as origin:
        host = f"camera.local:{origin.port}"
        with pytest.raises(PayloadTooLarge):
            await fetch(fetcher(host), f"http://{host}/", bytes_max=100)


async def test_bytes_are_counted_against_the_intake() -> None:
    async with origin_of({"/": ok()}) as origin:
        host = f"camera.local:{origin.port}"
        with pytest.raises(IntakeFull):
            await fetch(fetcher(host), f"http://{host}/", intake=FakeIntake(bytes_max=100))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", UrlAnswerUnusable),
        (b"HTTP/1.1 204 No Content\r\n\r\n", UrlAnswerUnusable),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", UrlNotFetched),
        (b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n", UrlNotFetched),
        (ok(extra="Content-Encoding: gzip\r\n"), UrlAnswerUnusable),
        (ok(b""), UrlAnswerUnusable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", UrlNotFetched),
        (b"SSH-2.0-OpenSSH_9.2\r\n", UrlNotFetched),
        (b"", UrlNotFetched),
    ],
)
async def test_other_answers_are_told_apart(answer: bytes, error: type[Exception]) -> None:
    async with origin_of({"/": answer}) as origin:
        host = f"camera.local:{origin.port}"
        with pytest.raises(error):
            await fetch(fetcher(host), f"http://{host}/")


async def test_server_that_hangs_is_given_up_at_the_deadline() -> None:
    async with origin_of({"/": b""}, hang=True) as origin:
        host = f"camera.local:{origin.port}"
        with pytest.raises(UrlNotFetched, match="longer than"):
            await fetch(fetcher(host, timeout_s=0.2), f"http://{host}/")


async def test_nobody_listening_is_not_fetched() -> None:
    async with origin_of({}) as origin:
        port = origin.port
    with pytest.raises(UrlNotFetched):
        await fetch(fetcher(f"camera.local:{port}"), f"http://camera.local:{port}/")


async def test_https_checks_the_certificate(self_signed: ssl.SSLContext) -> None:
    async with origin_of({"/": ok()}, tls=self_signed) as origin:
        host = f"camera.local:{origin.port}"
        with pytest.raises(UrlNotFetched, match="CERTIFICATE_VERIFY_FAILED"):
            await fetch(fetcher(host), f"https://{host}/")
        assert not origin.asked


@pytest.mark.parametrize("body", [b'{"url": "http://a/"}', b'{"Url": "http://a/"}'])
def test_url_is_read_from_the_document(body: bytes) -> None:
    assert url_of_document(body) == "http://a/"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"url": 1}', b'{"url": ""}', b"\xff", b"[" * 4000])
def test_document_without_url_is_refused(body: bytes) -> None:
    with pytest.raises(RequestInvalid):
        url_of_document(body)
