"""The whole path with nothing faked but the cloud: HTTP → TFLite → SQLite → the azure SDK → the IoT Hub stand-in."""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.fakes.gateway_process import ROOT, GatewayProcess
from tests.fakes.hub import RunningHub, hub_in_thread
from tests.fakes.ledger import assert_gap_free, deduplicated, items, stored
from tests.fakes.pictures import picture_with_secrets, small_picture

DRAIN_TIMEOUT_S = 60.0  # the issue of every fault: the backlog is gone this soon after the link is well again
IMPATIENT = {
    "GATEWAY_CLOUD__KEEP_ALIVE_S": "5",
    "GATEWAY_CLOUD__SEND_TIMEOUT_S": "3",
    "GATEWAY_CLOUD__CONNECT_TIMEOUT_S": "8",
    "GATEWAY_CLOUD__BACKOFF_INITIAL_S": "0.1",
    "GATEWAY_CLOUD__BACKOFF_MAX_S": "1",
    "GATEWAY_CLOUD__BATCH_WAIT_S": "0.1",
}
WINDOW_BYTES = 24  # a run this long shared by chance is out of the question


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    with hub_in_thread(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(hub: RunningHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with GatewayProcess(folder / "data", environment=hub.environment() | IMPATIENT) as running:
        yield running


def eventually(condition: Callable[[], bool], *, timeout_s: float = DRAIN_TIMEOUT_S) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


def drained(gateway: GatewayProcess, hub: RunningHub) -> bool:
    return deduplicated(hub.messages) == stored(gateway.data_dir)


def command(gateway: GatewayProcess, *arguments: str) -> str:
    override = f"gateway.data_dir={gateway.data_dir}"
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--set", override],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_picture_is_answered_stored_and_arrives_at_the_hub(gateway: GatewayProcess, hub: RunningHub) -> None:
    picture = (ROOT / "examples" / "banana-ripe.jpg").read_bytes()
    answer = gateway.post_picture(picture, key="banana").json()
    best = max(answer["predictions"], key=lambda p: p["probability"])
    assert best["label"] == "ripe"

    assert eventually(lambda: drained(gateway, hub))
    item = next(item for _, item in items(hub.messages) if item["submission_id"] == "banana")
    assert item["sequence"] == answer["sequence"]
    assert item["device_id"] == "cam-1"
    assert [(p["label"], p["probability"]) for p in item["predictions"]] == [
        (p["label"], p["probability"]) for p in answer["predictions"]
    ]


def test_reading_takes_the_same_path(gateway: GatewayProcess, hub: RunningHub) -> None:
    url = f"{gateway.http}/v1/devices/barn-2/readings"
    answer = requests.post(url, json={"temperature": 21.5}, headers={"Idempotency-Key": "r-1"}, timeout=30)
    assert answer.status_code == 200
    assert eventually(lambda: drained(gateway, hub))
    item = next(item for _, item in items(hub.messages) if item["submission_id"] == "r-1")
    assert item["values"] == {"temperature": 21.5}


def test_sixteen_clients_at_once_each_get_their_own_answer(gateway: GatewayProcess, hub: RunningHub) -> None:
    pictures = sorted((ROOT / "tests" / "data" / "unseen-fruit").glob("*.jpg"))[:16]
    alone = [gateway.post_picture(path.read_bytes()).json()["predictions"] for path in pictures]
    assert len({str(answer) for answer in alone}) == len(alone), "the pictures must tell the clients apart"

    def client(path: Path) -> list[object]:
        return [gateway.post_picture(path.read_bytes()).json()["predictions"] for _ in range(5)]

    with ThreadPoolExecutor(len(pictures)) as clients:
        together = list(clients.map(client, pictures))
    assert together == [[answer] * 5 for answer in alone]


def test_redelivery_over_http_is_one_event(gateway: GatewayProcess, hub: RunningHub) -> None:
    first = gateway.post_picture(small_picture(7), key="twice").json()
    again = gateway.post_picture(small_picture(7), key="twice").json()
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert again["sequence"] == first["sequence"]
    other = gateway.post_picture(small_picture(8), key="twice")
    assert other.status_code == 422
    assert other.json()["reason"] == "submission_id_reused"


def test_nothing_of_a_picture_leaves_the_site(gateway: GatewayProcess, hub: RunningHub) -> None:
    picture = picture_with_secrets()
    assert gateway.post_picture(picture, key="private").status_code == 200
    assert eventually(lambda: "private" in deduplicated(hub.messages))
    sent = hub.raw_bytes
    assert b'"private"' in sent, "the capture does not show what was sent in clear"
    for secret in (b"SECRET", b"Exif"):
        assert secret not in sent
    encoded = [encode(picture[start:]) for encode in (base64.b64encode, base64.urlsafe_b64encode) for start in range(3)]
    for shape in (picture, picture.hex().encode(), *encoded):
        found = [at for at in range(0, len(shape) - WINDOW_BYTES, 8) if shape[at : at + WINDOW_BYTES] in sent]
        assert not found, f"bytes of the picture at {found[:3]} were sent"


@pytest.mark.parametrize(
    "fault",
    [
        {"reject_connect": 5},
        {"reject_connect": 3},
        {"hang_connack": True},
        {"silent_tls": True},
        {"no_puback": True},
        {"drop_before_puback": True},
        {"drop_after": 1},
        {"reset_after": 1},
        {"half_open": True},
    ],
    ids=str,
)
def test_hub_fault_delays_nothing_but_the_cloud(
    gateway: GatewayProcess, hub: RunningHub, fault: dict[str, int | bool]
) -> None:
    assert eventually(lambda: drained(gateway, hub))
    (name, value), *_ = fault.items()
    hub.set_faults(**fault)
    hub.kick()
    try:
        for number in range(6):
            key = f"{name}-{value}-{number}"
            assert gateway.post_picture(small_picture(number), key=key, timeout_s=10).status_code == 200
            time.sleep(0.2)
        assert requests.get(f"{gateway.http}/readyz", timeout=5).status_code == 200
    finally:
        hub.set_faults()
    assert eventually(lambda: drained(gateway, hub)), "the backlog did not drain"
    assert_gap_free(stored(gateway.data_dir).values())


def test_events_say_where_the_watermark_stood(gateway: GatewayProcess, hub: RunningHub) -> None:
    gateway.post_picture(small_picture(1), key="watermark")
    assert eventually(lambda: drained(gateway, hub))
    envelopes = [json.loads(message.body) for message in hub.messages]
    marks = [envelope["sequence_high"] for envelope in envelopes]
    assert max(marks) == max(stored(gateway.data_dir).values())
    assert all(item["sequence"] <= e["sequence_high"] for e in envelopes for item in e["items"])


def test_stats_list_show_and_export_work_while_it_runs(gateway: GatewayProcess, hub: RunningHub) -> None:
    gateway.post_picture(small_picture(2), key="look-at-me")
    stats = json.loads(command(gateway, "outbox", "stats", "--json"))
    assert stats["gateway"] == "running"
    assert stats["uplink_state"] in {"connected", "connecting", "backing_off"}
    assert stats["sequence_high"] == max(stored(gateway.data_dir).values())
    assert stats["clock"].startswith(("trusted", "not trusted"))
    assert set(stats) >= {"written_bytes", "written_bytes_per_day", "written_bytes_per_event"}
    parts = ("pending", "delivered", "dead", "evicted", "expired", "filtered", "summarised")
    assert stats["sequence_high"] == sum(stats[part] for part in parts)
    assert 0 < stats["rows"] <= stats["rows_max"]
    assert 0 < stats["bytes_used"] <= stats["bytes_max"]
    assert (stats["when_full"], stats["ballast"].split(",")[0], stats["policy_rules"]) == ("refuse", "kept", "none")
    listed = [json.loads(line) for line in command(gateway, "outbox", "list", "--json").splitlines()]
    assert listed[0]["submission_id"] == "look-at-me"
    assert json.loads(command(gateway, "outbox", "show", "look-at-me"))["sequence"] == listed[0]["sequence"]
    exported = command(gateway, "outbox", "export").splitlines()
    assert len(exported) == stats["sequence_high"]


def test_sqlite_utils_reads_the_file_while_it_runs(gateway: GatewayProcess, hub: RunningHub) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sqlite_utils", "tables", str(gateway.data_dir / "outbox.db"), "--counts"],
        capture_output=True,
        text=True,
        check=True,
    )
    counts = {row["table"]: row["count"] for row in json.loads(done.stdout)}
    assert counts["events"] == len(stored(gateway.data_dir))


def test_metrics_and_docs_are_on_the_admin_face_only(gateway: GatewayProcess, hub: RunningHub) -> None:
    assert "gateway_submissions_total" in requests.get(f"{gateway.admin}/metrics", timeout=10).text
    assert requests.get(f"{gateway.admin}/openapi.json", timeout=10).json()["openapi"].startswith("3.")
    assert requests.get(f"{gateway.http}/metrics", timeout=10).status_code == 404


def test_second_gateway_on_the_same_data_says_so_and_exits_2(gateway: GatewayProcess, hub: RunningHub) -> None:
    second = subprocess.run(
        [
            sys.executable,
            "-m",
            "gateway",
            "run",
            "--set",
            f"gateway.data_dir={gateway.data_dir}",
            "--set",
            "http.listen=127.0.0.1:0",
            "--set",
            "admin.listen=127.0.0.1:0",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 2
    assert str(gateway.worker_pid) in second.stderr


def test_uplink_that_is_not_configured_is_said_and_buffers(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path / "data") as alone:
        assert "not configured: buffering" in alone.banner
        assert alone.post_picture(small_picture()).status_code == 200
    assert len(stored(tmp_path / "data")) == 1


def test_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    running = GatewayProcess(tmp_path / "data").start()
    assert running.stop() == 0
    assert not (tmp_path / "data" / "control.sock").exists()
