"""A container's liveness, asked of a real socket."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from gateway.healthcheck import admin_listen, fault


class Face(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(HTTPStatus.OK if self.path == "/healthz" and self.server.healthy else 500)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it so
        pass


@pytest.fixture
def face() -> Iterator[http.server.HTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Face) as server:
        server.healthy = True  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


def ask(environment: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.healthcheck"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_gateway_that_answers_is_healthy(face: http.server.HTTPServer) -> None:
    assert ask({"GATEWAY_ADMIN__LISTEN": f"127.0.0.1:{face.server_port}"}) == (0, "healthy")


def test_gateway_that_answers_with_an_error_is_not(face: http.server.HTTPServer) -> None:
    face.healthy = False  # type: ignore[attr-defined]
    assert ask({"GATEWAY_ADMIN__LISTEN": f"127.0.0.1:{face.server_port}"}) == (1, "/healthz answered 500")


def test_gateway_that_does_not_answer_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    assert "no answer" in fault(f"127.0.0.1:{port}")


def test_listener_on_all_addresses_is_asked_on_loopback(face: http.server.HTTPServer) -> None:
    assert fault(f":{face.server_port}") == fault(f"0.0.0.0:{face.server_port}") == ""


def test_face_that_is_off_is_told_apart() -> None:
    assert "admin.listen is off" in fault("")


def test_the_address_is_the_environments_else_the_settings_files_else_the_default(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[admin]\nlisten = ":9000"\n')
    assert admin_listen({"GATEWAY_CONFIG": str(file), "GATEWAY_ADMIN__LISTEN": ":9001"}) == ":9001"
    assert admin_listen({"GATEWAY_CONFIG": str(file)}) == ":9000"
    assert admin_listen({}) == "127.0.0.1:8081"
