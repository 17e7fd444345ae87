"""What the client suites run against: ``gateway_url`` serves the HTTP routes, ``picture`` is a JPEG that it classifies.

A suite that starts the whole gateway overrides ``gateway_url`` and ``url_gateway`` and gets every client for nothing.
"""

import http.server
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from ipaddress import ip_network

import pytest
from PIL import Image as Picture

from gateway.settings import HttpSettings, UrlFetchSettings
from tests.fakes.http_server import serving_http

HttpGateway = Callable[[HttpSettings], AbstractContextManager[str]]


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A real JPEG, large enough for chunked bodies and for curl to ask before it sends."""
    noise = Picture.effect_noise((1280, 960), 90).convert("RGB")
    out = io.BytesIO()
    noise.save(out, "JPEG", quality=95)
    assert len(out.getvalue()) > 1_100_000
    return out.getvalue()


@pytest.fixture(scope="module")
def gateway_url() -> Iterator[str]:
    """Where the HTTP routes are served, without a slash at the end."""
    with serving_http() as serving:
        yield serving.url


@pytest.fixture(scope="module")
def picture_url(picture: bytes) -> Iterator[str]:
    """Where a plain web server has the picture."""

    class Pictures(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(picture)))
            self.end_headers()
            self.wfile.write(picture)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/banana.jpg"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def url_gateway(picture_url: str) -> Iterator[str]:
    """Where the HTTP routes are served by a gateway that may fetch from ``picture_url``."""
    host = picture_url.split("/")[2]
    fetch = UrlFetchSettings(allowed_hosts=(host,), allowed_networks=(ip_network("127.0.0.0/8"),))
    with ExitStack() as stack:
        yield stack.enter_context(serving_http(settings=HttpSettings(url_fetch=fetch))).url
