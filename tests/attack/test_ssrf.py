"""``/url`` as a way into the site's network: every spelling of an address inside, through the whole HTTP adapter."""

import http.server
import threading
from collections.abc import Iterator

import pytest
import requests

from gateway.settings import HttpSettings, UrlFetchSettings
from tests.fakes.http_server import serving_http


@pytest.fixture
def inside() -> Iterator[tuple[int, list[str]]]:
    """A server of the site that must never be asked; what it was asked."""
    asked: list[str] = []

    class Inside(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Inside) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], asked
        server.shutdown()
        thread.join()


# 127.0.0.1, as inet_aton, IPv6 and browsers read it.
SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "127.0.0.1.",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.0.0.1%00.camera.example",
    "camera.example@127.0.0.1",
    "127.0.0.1#@camera.example",
    "127.0.0.1\\@camera.example",
]


@pytest.mark.parametrize("listed", [False, True], ids=["not listed", "listed, but at a private address"])
def test_no_spelling_of_an_address_inside_is_fetched(inside: tuple[int, list[str]], listed: bool) -> None:
    port, asked = inside
    hosts = ["camera.example", *((f"{one}:{port}" for one in SPELLINGS) if listed else ())]
    answers = {}
    with serving_http(settings=HttpSettings(url_fetch=UrlFetchSettings(allowed_hosts=tuple(hosts)))) as serving:
        for spelling in SPELLINGS:
            url = f"http://{spelling}:{port}/secret"
            answers[url] = requests.post(f"{serving.url}/url", json={"url": url}, timeout=20).status_code
    assert not asked
    assert {url: status for url, status in answers.items() if status not in {403, 503}} == {}
