"""Devices with a hard-wired URL: served on it, with the answer that they insist on, and never lied to."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.errors import DiskUnavailable, OutboxFull
from gateway.messages import Image
from gateway.settings import HttpAliasSettings, HttpSettings, SettingsInvalid, load_settings
from tests.fakes.gateway_process import ROOT
from tests.fakes.http_server import Serving, serving_http
from tests.fakes.intake import FakeIntake

JPEG = b"\xff\xd8\xff" + bytes(500)
PHP = HttpAliasSettings(
    path="/upload.php",
    device_id="yard-{query.cam}",
    key_query="pwd",
    body="<ok/>",
    content_type="text/xml",
    status=201,
    failure_body="<error/>",
    busy_status=500,
)
CGI = HttpAliasSettings(path="/cgi-bin/upload.cgi", device_id="{header.x-serial}", methods=("PUT",), body="")
SNAP = HttpAliasSettings(path="/cams/{name}/snap.jpg", device_id="{path.name}", refused_status=409)
SHELLY = HttpAliasSettings(path="/report", methods=("GET", "POST"), takes="values", device_id="{query.id}")
LOG = HttpAliasSettings(path="/log", takes="readings", device_id="meter", status=204, body="")


@pytest.fixture
def serving() -> Iterator[Serving]:
    with serving_http(settings=HttpSettings(alias=(PHP, CGI, SNAP, LOG, SHELLY))) as running:
        yield running


@pytest.fixture
def http(serving: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=serving.url) as client:
        yield client


def test_answer_is_the_one_that_the_device_insists_on(serving: Serving, http: httpx.Client) -> None:
    answer = http.post("/upload.php?cam=3", content=JPEG)
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (201, "<ok/>", "text/xml")
    assert serving.intake.last.device_id == "yard-3"


def test_device_is_told_by_header_path_or_settings(serving: Serving, http: httpx.Client) -> None:
    assert http.put("/cgi-bin/upload.cgi", content=JPEG, headers={"X-Serial": "A1"}).content == b""
    assert http.post("/cams/gate/snap.jpg", files={"whatever": ("a.jpg", JPEG)}).text == "OK"
    assert http.post("/log", json={"temperature": 20.5}).status_code == 204
    assert [one.device_id for one in serving.intake.submissions] == ["A1", "gate", "meter"]


def test_values_in_a_query_or_a_form_are_a_reading(serving: Serving, http: httpx.Client) -> None:
    assert http.get("/report?hum=40&temp=21.5&id=shelly-1&key=x&note=wet+hay&serial=12345678901234567890").text == "OK"
    assert json.loads(serving.intake.last.payload.data) == {
        "hum": 40,
        "temp": 21.5,
        "note": "wet hay",
        "serial": "12345678901234567890",
    }
    assert serving.intake.last.device_id == "shelly-1"
    assert http.post("/report?id=shelly-1", data={"tempf": "-3.4e1", "empty": ""}).text == "OK"
    assert json.loads(serving.intake.last.payload.data) == {"tempf": -34.0, "empty": ""}
    count = len(serving.intake.submissions)
    for query in ("id=shelly-1", "id=shelly-1&a=1&a=2", "a=1"):
        assert http.get(f"/report?{query}").status_code in {400, 422}
    assert http.request("GET", "/report?id=a&b=1", content=b"c=2").status_code == 400
    assert http.head("/report?id=a&b=1").status_code == 405
    assert len(serving.intake.submissions) == count


def test_request_without_its_device_or_with_another_method_is_refused(serving: Serving, http: httpx.Client) -> None:
    assert http.post("/upload.php", content=JPEG).status_code == 400
    assert http.post("/upload.php?cam=a/b", content=JPEG).status_code == 400
    assert http.post("/cgi-bin/upload.cgi", content=JPEG, headers={"X-Serial": "A1"}).status_code == 405
    assert not serving.intake.submissions


@pytest.mark.parametrize(("fault", "status"), [(OutboxFull("full"), 500), (DiskUnavailable("full"), 500)])
def test_nothing_that_is_not_on_disk_gets_the_words_of_success(
    serving: Serving, http: httpx.Client, fault: Exception, status: int
) -> None:
    serving.intake.fault = fault
    answer = http.post("/upload.php?cam=3", content=JPEG)
    assert (answer.status_code, answer.text) == (status, "<error/>")
    assert int(answer.headers["retry-after"]) >= 1


def test_refusals_have_the_status_that_was_set_or_the_one_that_fits(serving: Serving, http: httpx.Client) -> None:
    assert http.post("/cams/gate/snap.jpg", content=b"no picture").status_code == 409
    refused = http.post("/upload.php?cam=3", content=b"no picture")
    assert (refused.status_code, refused.text) == (415, "<error/>")
    assert "not_an_image" in http.put("/cgi-bin/upload.cgi", content=b"x", headers={"X-Serial": "A1"}).text


def test_reason_of_a_failure_never_holds_the_text_of_success() -> None:
    for body in ("ok", "e", "image", "415"):
        alias = HttpAliasSettings(path="/a", body=body)
        with serving_http(settings=HttpSettings(alias=(alias,))) as serving, httpx.Client() as client:
            answer = client.post(f"{serving.url}/a", content=b"send the token")
            assert (answer.status_code, body in answer.text) == (415, False)


def test_documented_aliases_are_served_as_documented(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "PROTOCOLS.md").read_text()
    (documented,) = [block for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "http.alias" in block]
    file = tmp_path / "gateway.toml"
    file.write_text(documented)
    with serving_http(settings=load_settings(file, {}, {}, tmp_path).http) as serving:
        client = httpx.Client(base_url=serving.url)
        assert client.post("/upload.php?cam=3", content=JPEG).text == "<result>ok</result>"
        assert client.post("/upload.php?cam=3", content=b"x").text == "<result>failed</result>"
        assert client.put("/cgi-bin/upload.cgi", content=JPEG, headers={"X-Serial": "A1"}).text == ""
        assert client.post("/cams/gate/snapshot.jpg", content=JPEG).text == "OK"
        assert client.post("/log", json={"a": 1}).text == "OK"
        assert client.get("/report?id=shelly-1&temp=21.5&hum=40").text == "OK"
        client.close()
    ids = [one.device_id for one in serving.intake.submissions]
    assert ids == ["yard-3", "yard-3", "A1", "gate", "meter", "shelly-1"]


def test_success_leaves_after_the_commit_and_not_before() -> None:
    intake = FakeIntake(submit_s=0.4)
    with serving_http(settings=HttpSettings(alias=(PHP,)), intake=intake) as serving, httpx.Client() as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post(f"{serving.url}/upload.php?cam=3", content=JPEG, timeout=0.2)
        answer = client.post(f"{serving.url}/upload.php?cam=3", content=JPEG, timeout=5)
        assert (answer.status_code, len(intake.submissions)) == (201, 2)


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ('path = "/healthz"', "the gateway's own"),
        ('path = "/v1/devices/a/images"', "the gateway's own"),
        ('path = "upload.cgi?cam=3"', "not the path"),
        ('refused_status = 200\npath = "/a"', "success"),
        ('busy_status = 302\npath = "/a"', "success"),
        ('failure_body = "OK"\npath = "/a"', "success"),
        ('failure_body = "NOT OK"\npath = "/a"', "success"),
        ('status = 204\npath = "/a"', "no body"),
        ('status = 299\npath = "/a"', "no status"),
        ('methods = ["GET"]\npath = "/a"', "values only"),
        ('device_id = "{cam}"\npath = "/a"', "where the device id comes from"),
        ('device_id = "{path.cam}"\npath = "/a"', "does not have"),
        ('path = "/a"\n[[http.alias]]\npath = "/a"\nmethods = ["PUT"]', "twice"),
        ('path = "/a"\ndevice_id = "query.cam"', 'Write "{query.cam}"'),
    ],
)
def test_mistakes_are_told_at_start(tmp_path: Path, toml: str, fault: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f"[[http.alias]]\n{toml}\n")
    with pytest.raises(SettingsInvalid) as told:
        load_settings(file, {}, {}, tmp_path)
    assert fault in str(told.value)


@pytest.mark.skipif(shutil.which("curl") is None, reason="missing package: curl")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--data-binary", "@{file}"],
        ["-T", "{file}"],
        ["-F", "snapshot=@{file}"],
        ["-F", "snapshot=<{file}.txt"],
        ["--data-urlencode", "photo@{file}.txt"],
        ["--data-urlencode", "photo@{file}"],
        ["--data-binary", "@{file}.txt"],
        ["--http1.0", "--data-binary", "@{file}"],
        ["-H", "Expect: 100-continue", "--data-binary", "@{file}"],
    ],
)
def test_curl_sends_a_picture_in_every_documented_form(serving: Serving, tmp_path: Path, arguments: list[str]) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(JPEG)
    file.with_name("a.jpg.txt").write_bytes(base64.encodebytes(JPEG))
    sent = [argument.format(file=file) for argument in arguments]
    url = f"{serving.url}/cams/gate/snap.jpg"
    done = subprocess.run(["curl", "-sS", "--max-time", "30", *sent, url], capture_output=True, check=True)
    assert done.stdout == b"OK"
    payload = serving.intake.last.payload
    assert isinstance(payload, Image)
    assert payload.data == JPEG
