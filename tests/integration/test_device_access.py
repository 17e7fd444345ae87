"""Who may come in, over HTTP and MQTT, on a real gateway: open, known, authenticated; one store for both."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pytest
import requests

from tests.fakes.canary import secret
from tests.fakes.gateway_process import ROOT, GatewayProcess
from tests.fakes.pictures import small_picture

PICTURE = small_picture()
NOTICED_S = 1.1  # the gateway looks at the book once a second
REFUSED_LOGIN = 5  # MQTT 3.1.1 section 3.2.2.3: not authorized; 4 is a bad user name or password
PASSWORD = secret("correct horse")


def devices(data_dir: Path, *arguments: str, stdin: str = "") -> str:
    return told(data_dir, "devices", *arguments, stdin=stdin)


def told(data_dir: Path, *arguments: str, stdin: str = "") -> str:
    """Return what a command says."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--set", f"gateway.data_dir={data_dir}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        input=stdin,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def token_of(text: str) -> str:
    return next(word for word in text.split() if word.startswith("gwt_"))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site") / "data"


@pytest.fixture(scope="module")
def token(data_dir: Path) -> str:
    devices(data_dir, "add", "cam-2", "--password", stdin=f"{PASSWORD}\n")
    devices(data_dir, "add", "cam-3", "--no-secret")
    return token_of(devices(data_dir, "add", "cam-1"))


@pytest.fixture(scope="module")
def gateway(data_dir: Path, token: str) -> Iterator[GatewayProcess]:
    environment = {"GATEWAY_HTTP__ACCESS": "authenticated", "GATEWAY_MQTT__ACCESS": "authenticated"}
    config = data_dir.parent / "gateway.toml"
    config.write_text(
        '[[http.alias]]\npath = "/upload.php"\ndevice_id = "cam-{query.cam}"\nkey_query = "pwd"\nbody = "STORED"\n'
    )
    with GatewayProcess(data_dir, environment=environment, arguments=("--config", str(config))) as running:
        yield running


@pytest.fixture
def own_gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """One whose book and whose memory of failures no other test shares."""
    devices(tmp_path / "data", "add", "cam-2", "--password", stdin=f"{PASSWORD}\n")
    with GatewayProcess(tmp_path / "data", environment={"GATEWAY_HTTP__ACCESS": "authenticated"}) as running:
        yield running


def post(gateway: GatewayProcess, path: str = "/v1/devices/claimed/images", **arguments: object) -> requests.Response:
    return requests.post(gateway.http + path, data=PICTURE, timeout=30, **arguments)  # type: ignore[arg-type]


def logged_in(gateway: GatewayProcess, username: str | None, password: str | None, client_id: str = "c") -> int:
    """Return the code of the CONNACK."""
    codes: list[int] = []
    client = paho.Client(client_id)
    if username is not None or password is not None:
        client.username_pw_set(username or "", password)
    client.on_connect = lambda _client, _userdata, _flags, code: codes.append(code)
    where = urlsplit(gateway.mqtt)
    client.connect(where.hostname or "", where.port or 1883)
    for _ in range(100):
        if codes:
            break
        client.loop(0.1)
    client.disconnect()
    client._reset_sockets()
    return codes[0]


def test_the_banner_says_how_it_stands(gateway: GatewayProcess) -> None:
    assert gateway.banner.count("devices with a token or password only") == 2
    assert "curl -H 'Authorization: Bearer TOKEN' --data-binary" in gateway.banner


def test_without_proof_nobody_is_served_and_told_how(gateway: GatewayProcess) -> None:
    answer = post(gateway)
    assert answer.status_code == 401
    assert answer.json()["reason"] == "not_authenticated"
    assert "Basic" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("way", ["bearer", "basic", "prediction-key", "query"])
def test_a_token_proves_the_device_in_every_way_and_overrides_the_claim(
    gateway: GatewayProcess, token: str, way: str
) -> None:
    arguments: dict[str, Any] = {
        "bearer": {"headers": {"Authorization": f"Bearer {token}"}},
        "basic": {"auth": ("cam-1", token)},
        "prediction-key": {"headers": {"Prediction-Key": token}},
        "query": {"params": {"key": token}},
    }
    answer = post(gateway, **arguments[way])
    assert answer.status_code == 200, answer.text
    assert answer.json()["device_id"] == "cam-1"


def test_a_custom_vision_client_comes_in_with_its_prediction_key(gateway: GatewayProcess, token: str) -> None:
    answer = post(gateway, "/image", headers={"Prediction-Key": token})
    assert answer.json()["predictions"]


def test_a_password_proves_its_device(gateway: GatewayProcess) -> None:
    assert post(gateway, auth=("cam-2", PASSWORD)).json()["device_id"] == "cam-2"


def test_hard_wired_url_may_hold_the_token_or_the_password_of_the_device_that_it_names(
    gateway: GatewayProcess, token: str
) -> None:
    assert post(gateway, "/upload.php?cam=1").status_code == 401
    assert post(gateway, f"/upload.php?cam=1&pwd={token}").text == "STORED"
    assert post(gateway, "/upload.php?cam=2&pwd=correct horse").text == "STORED"
    assert post(gateway, "/upload.php?cam=1&pwd=correct horse").status_code == 401
    # The second camera's URL with the first's token is the first.
    sent = {"Idempotency-Key": "by-url"}
    assert post(gateway, f"/upload.php?cam=2&pwd={token}", headers=sent).text == "STORED"
    event = f"{gateway.http}/v1/devices/cam-1/events/by-url?key={token}"
    assert requests.get(event, timeout=10).json()["device_id"] == "cam-1"


def test_health_needs_no_proof(gateway: GatewayProcess) -> None:
    assert requests.get(f"{gateway.http}/healthz", timeout=10).status_code == 200


def test_a_device_reads_its_own_events_only(gateway: GatewayProcess, token: str) -> None:
    sent = post(gateway, auth=("cam-2", PASSWORD), headers={"Idempotency-Key": "secret-shot"})
    assert sent.status_code == 200
    path = f"{gateway.http}/v1/devices/cam-2/events/secret-shot"
    assert requests.get(path, auth=("cam-2", PASSWORD), timeout=10).status_code == 200
    assert requests.get(path, headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code == 404


def test_the_same_store_serves_mqtt(gateway: GatewayProcess, token: str) -> None:
    assert logged_in(gateway, "cam-1", token) == 0
    assert logged_in(gateway, "cam-2", PASSWORD) == 0
    assert logged_in(gateway, "cam-1", "wrong") in {4, REFUSED_LOGIN}
    assert logged_in(gateway, None, None) in {4, REFUSED_LOGIN}


def test_devices_are_added_and_revoked_without_a_restart(own_gateway: GatewayProcess) -> None:
    fresh = token_of(devices(own_gateway.data_dir, "add", "cam-8"))
    headers = {"Authorization": f"Bearer {fresh}"}
    time.sleep(NOTICED_S)
    assert post(own_gateway, headers=headers).status_code == 200
    devices(own_gateway.data_dir, "revoke", "cam-8")
    time.sleep(NOTICED_S)
    assert post(own_gateway, headers=headers).status_code == 401


def test_guessing_is_answered_with_429_and_a_time(own_gateway: GatewayProcess) -> None:
    answers = [post(own_gateway, auth=("cam-2", "wrong")) for _ in range(10)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_no_secret_is_in_log_metrics_or_refusals_not_even_a_wrong_one(own_gateway: GatewayProcess) -> None:
    gateway, token = own_gateway, token_of(devices(own_gateway.data_dir, "add", "cam-1"))
    mistyped = f"{token[:-1]}!"
    time.sleep(NOTICED_S)
    for path in ("/image", "/nothing-here", "/v1/devices/cam-1/images", "/v1/devices/cam-1/events/x", "/upload.php"):
        for shown in (token, mistyped):
            for name in ("key", "pwd"):
                requests.post(f"{gateway.http}{path}", params={name: shown}, data=b"no picture", timeout=30)
    refusals = told(gateway.data_dir, "outbox", "list", "--refusals", "--json")
    assert "cam-1" in refusals
    metrics = requests.get(f"{gateway.admin}/metrics", timeout=30).text
    said = gateway.log_file.read_text() + gateway.banner + metrics + refusals
    assert "device_login_refused" in said
    for shown in (token, mistyped):
        assert shown not in said


def test_no_secret_is_in_the_log_of_all_these_tests(gateway: GatewayProcess, token: str) -> None:
    log = gateway.log_file.read_text()
    assert token not in log
    assert PASSWORD not in log


def test_known_serves_known_ids_and_no_others(tmp_path: Path) -> None:
    environment = {"GATEWAY_HTTP__ACCESS": "known", "GATEWAY_MQTT__ACCESS": "known"}
    with GatewayProcess(tmp_path / "data", environment=environment) as gateway:
        assert gateway.banner.count("known devices only") == 2
        devices(gateway.data_dir, "add", "cam-3", "--no-secret")
        refused = post(gateway, "/v1/devices/cam-9/images")
        assert (refused.status_code, refused.json()["reason"]) == (403, "device_unknown")
        time.sleep(NOTICED_S)
        assert post(gateway, "/v1/devices/cam-3/images").status_code == 200
        assert logged_in(gateway, None, None, client_id="cam-3") == 0
        assert logged_in(gateway, None, None, client_id="cam-9") in {4, REFUSED_LOGIN}


def test_on_loopback_anybody_may_send_and_a_foreign_prediction_key_means_nothing(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path / "data") as gateway:
        assert "anybody who reaches it may send" in gateway.banner
        answer = post(gateway, "/image", headers={"Prediction-Key": "of-the-cloud"})
        assert answer.status_code == 200


def test_other_listeners_ask_for_proof_unless_told_otherwise() -> None:
    from gateway.settings import HttpSettings, MqttSettings

    assert HttpSettings(listen=":8080").effective_access == "authenticated"
    assert HttpSettings(listen="[::1]:8080").effective_access == "open"
    assert HttpSettings(listen="192.168.1.5:8080", access="open").effective_access == "open"
    assert MqttSettings(listen="0.0.0.0:1883").effective_access == "authenticated"
