"""The clients that the exported container has, as they are: the single-board Python client, the Wio Terminal, curl."""

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

ROUTES = ("/image", "/p/image/nostore", "/p/classify/iterations/i/image", "/v1/devices/cam/images")
curl_needed = pytest.mark.skipif(shutil.which("curl") is None, reason="missing package: curl")


def labels(document: dict[str, Any]) -> list[str]:
    return [found.get("tagName", found.get("label")) for found in document["predictions"]]


# --- the single-board computer's Python client ---


def test_python_client_of_the_lessons_gets_its_predictions(gateway_url: str, picture: bytes) -> None:
    # As the lesson writes it: bytes as the body, an octet-stream header, predictions read from JSON.
    prediction_url = gateway_url + "/image"
    headers = {"Content-Type": "application/octet-stream"}
    response = requests.post(prediction_url, headers=headers, data=picture, timeout=30)
    results = response.json()

    lines = [f"{found['tagName']}:\t{found['probability'] * 100:.2f}%" for found in results["predictions"]]
    assert len(lines) == 2
    assert sum(found["probability"] for found in results["predictions"]) == pytest.approx(1, abs=1e-6)


def test_python_client_reuses_its_connection(gateway_url: str, picture: bytes) -> None:
    with requests.Session() as session:
        answers = [session.post(gateway_url + "/image", data=picture, timeout=30) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5


@pytest.mark.parametrize("files", [{"imageData": b""}, {"imageData": ("a.jpg", b"", "image/jpeg")}])
def test_python_client_with_a_form_gets_its_predictions(
    gateway_url: str, picture: bytes, files: dict[str, Any]
) -> None:
    filled = {name: picture if isinstance(part, bytes) else (part[0], picture, part[2]) for name, part in files.items()}
    answer = requests.post(gateway_url + "/image", files=filled, timeout=30)
    assert answer.status_code == 200


def test_python_client_that_streams_gets_its_predictions(gateway_url: str, picture: bytes) -> None:
    chunks = (picture[start : start + 10_000] for start in range(0, len(picture), 10_000))
    assert requests.post(gateway_url + "/image", data=chunks, timeout=30).status_code == 200


# --- the Wio Terminal ---

WIO_DOCUMENT_BYTES = 1024
WIO_READ_TIMEOUT_S = 5


def wio_post(url: str, body: bytes) -> bytes:
    """Replay what the Wio Terminal's HTTPClient writes, and read as it does: status 200 or nothing."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    head = (
        f"POST {parts.path} HTTP/1.1\r\n"
        f"Host: {parts.hostname}:{parts.port}\r\n"
        "User-Agent: WioTerminalHTTPClient\r\n"
        "Connection: keep-alive\r\n"
        "Content-Type: application/octet-stream\r\n"
        f"Content-Length: {len(body)}\r\n"
        "\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port), WIO_READ_TIMEOUT_S) as connection:
        connection.sendall(head.encode())
        for start in range(0, len(body), 1460):  # a TCP segment at a time, as the radio does
            connection.sendall(body[start : start + 1460])
        stream = connection.makefile("rb")
        with stream:
            status = stream.readline()
            assert status.startswith(b"HTTP/1.1 200 "), status
            length = None
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            assert length is not None, "the Wio needs a Content-Length"
            return stream.read(length)


def test_wio_terminal_gets_an_answer_that_fits_its_document(gateway_url: str, picture: bytes) -> None:
    answer = wio_post(gateway_url + "/image", picture)
    assert len(answer) < WIO_DOCUMENT_BYTES
    assert arduino_json_bytes(answer) <= WIO_DOCUMENT_BYTES
    assert [found["tagName"] for found in json.loads(answer)["predictions"]] == ["ripe", "unripe"]


def arduino_json_bytes(text: bytes) -> int:
    """Return what ArduinoJson 6 takes of a ``DynamicJsonDocument`` on a 32-bit chip to parse ``text``, at worst.

    16 bytes a member or element (JSON_OBJECT_SIZE, JSON_ARRAY_SIZE), and every key and text copied with its NUL,
    without the de-duplication of keys that newer versions do.
    """

    def size(value: Any) -> int:
        if isinstance(value, dict):
            return sum(16 + len(key.encode()) + 1 + size(inner) for key, inner in value.items())
        if isinstance(value, list):
            return sum(16 + size(inner) for inner in value)
        return len(value.encode()) + 1 if isinstance(value, str) else 0

    return size(json.loads(text))


def test_six_labels_of_eight_letters_fit_the_wio() -> None:
    def document(count: int) -> bytes:
        found = [
            {"boundingBox": None, "probability": 0.12345678, "tagId": "", "tagName": "x" * 8} for _ in range(count)
        ]
        whole = {
            "created": "2026-05-04T08:30:00.123456",
            "id": "",
            "iteration": "",
            "predictions": found,
            "project": "",
        }
        return json.dumps(whole, separators=(",", ":")).encode()

    assert arduino_json_bytes(document(6)) <= WIO_DOCUMENT_BYTES < arduino_json_bytes(document(7))
    assert len(document(6)) < WIO_DOCUMENT_BYTES


# --- curl ---


def curl(*arguments: str, stdin: bytes | None = None) -> dict[str, Any]:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--max-time", "30", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture
def file(tmp_path: Path, picture: bytes) -> str:
    path = tmp_path / "banana.jpg"
    path.write_bytes(picture)
    return str(path)


@curl_needed
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "form",
    [
        ("--data-binary", "@{file}"),
        ("--data-binary", "@{file}", "-H", "Content-Type: image/png"),
        ("--data-binary", "@{file}", "-H", "Content-Type: application/octet-stream"),
        ("--data-binary", "@{file}", "-H", "Content-Type:"),
        ("--data-binary", "@{file}", "-H", "Expect: 100-continue"),
        ("--data-binary", "@{file}", "-H", "Expect:"),
        ("--data-binary", "@{file}", "-H", "Transfer-Encoding: chunked"),
        ("--data-binary", "@{file}", "--http1.0"),
        ("--data-binary", "@{file}", "-H", "Connection: close"),
        ("-F", "imageData=@{file}"),
        ("-F", "imageData=<{file}"),
        ("-F", "picture=@{file};type=image/jpeg"),
        ("-F", "note=kitchen", "-F", "imageData=@{file}"),
        ("-X", "POST", "-T", "{file}"),
        ("-X", "POST", "-T", "{file}", "-H", "Transfer-Encoding: chunked"),
    ],
    ids=" ".join,
)
def test_curl_gets_its_predictions(gateway_url: str, file: str, route: str, form: tuple[str, ...]) -> None:
    document = curl(*(argument.format(file=file) for argument in form), gateway_url + route)
    assert labels(document) == ["ripe", "unripe"]


@curl_needed
def test_curl_from_a_pipe_gets_its_predictions(gateway_url: str, picture: bytes) -> None:
    assert labels(curl("-X", "POST", "-T", "-", gateway_url + "/image", stdin=picture)) == ["ripe", "unripe"]


@curl_needed
def test_curl_sends_readings(gateway_url: str) -> None:
    document = curl("--json", '{"temperature": 21.5}', gateway_url + "/v1/devices/thermo/readings")
    assert document["device_id"] == "thermo"


@curl_needed
def test_curl_sends_a_url(url_gateway: str, picture_url: str) -> None:
    document = curl("--json", json.dumps({"url": picture_url}), url_gateway + "/url")
    assert labels(document) == ["ripe", "unripe"]


@curl_needed
def test_curl_with_an_oversized_picture_is_told_and_not_reset(gateway_url: str, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(9 * 1024 * 1024))
    for expect in ("Expect: 100-continue", "Expect:"):
        done = subprocess.run(
            [
                *["curl", "-s", "-S", "-o", "/dev/null", "-w", "%{http_code}", "-H"],
                expect,
                "--data-binary",
                f"@{path}",
                f"{gateway_url}/image",
            ],
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, b"413"), done.stderr.decode()
