"""The ``/url`` routes over real uvicorn and a real picture server."""

import http.server
import threading
from collections.abc import Iterator
from ipaddress import ip_network

import httpx
import pytest

from adapters.http.paths import custom_vision_paths
from gateway.messages import Image
from gateway.settings import HttpSettings, UrlFetchSettings
from tests.fakes.http_server import serving_http

JPEG = b"\xff\xd8\xff" + bytes(3000)


class Pictures(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(JPEG)))
        self.end_headers()
        self.wfile.write(JPEG)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def picture_port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def allowing(port: int) -> HttpSettings:
    fetch = UrlFetchSettings(allowed_hosts=(f"localhost:{port}",), allowed_networks=(ip_network("127.0.0.0/8"),))
    return HttpSettings(url_fetch=fetch)


@pytest.mark.parametrize("path", custom_vision_paths("url"))
def test_every_url_path_classifies_the_picture_behind_the_url(picture_port: int, path: str) -> None:
    with serving_http(settings=allowing(picture_port)) as serving:
        url = serving.url + path.replace("{project}", "p").replace("{name}", "n")
        answer = httpx.post(url, json={"url": f"http://localhost:{picture_port}/a.jpg"})
        assert answer.status_code == 200
        assert answer.json()["predictions"][0]["tagName"] == "ripe"
        assert serving.intake.last.payload == Image(data=JPEG)
        assert (serving.intake.places_held, serving.intake.bytes_held) == (0, 0)


def test_url_routes_are_off_by_default_and_say_which_setting_opens_them() -> None:
    with serving_http() as serving:
        answer = httpx.post(serving.url + "/url", json={"url": "http://127.0.0.1/"})
        assert answer.status_code == 403
        assert "http.url_fetch.allowed_hosts" in answer.text
        assert not serving.intake.submissions


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1:1/", "http://169.254.169.254/latest"])
def test_url_beyond_what_is_allowed_is_403(picture_port: int, url: str) -> None:
    with serving_http(settings=allowing(picture_port)) as serving:
        answer = httpx.post(serving.url + "/url", json={"url": url})
        assert answer.status_code == 403
        assert "url_refused" in answer.text


def test_url_that_nobody_serves_is_503_with_retry_after(picture_port: int) -> None:
    with serving_http(settings=allowing(1)) as serving:
        answer = httpx.post(serving.url + "/url", json={"url": "http://localhost:1/"})
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
