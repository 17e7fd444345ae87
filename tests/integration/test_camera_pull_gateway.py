"""The whole gateway with pulled cameras: from the snapshot URL to the outbox, with the demo model."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import requests

from gateway.messages import Classification, Event, Transport
from gateway.outbox.inspection import list_events
from gateway.simulators.devices.snapshot_camera import Auth, Form, SnapshotCamera, SnapshotCameraOptions
from tests.fakes.canary import secret
from tests.fakes.gateway_process import ROOT, GatewayProcess

PICTURES = [(ROOT / "examples" / name).read_bytes() for name in ("banana-ripe.jpg", "apple-unripe.jpg")]
PASSWORD = secret("s3cret-of-the-gate")


@contextmanager
def cameras(*options: SnapshotCameraOptions) -> Iterator[list[SnapshotCamera]]:
    """Run cameras in a thread of their own."""
    loop = asyncio.new_event_loop()
    shown = [SnapshotCamera(one, cycle(PICTURES)) for one in options]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Callable[[SnapshotCamera], object]) -> None:
        for camera in shown:
            asyncio.run_coroutine_threadsafe(work(camera), loop).result(10)  # type: ignore[arg-type]

    try:
        run(lambda camera: camera.__aenter__())
        yield shown
    finally:
        run(lambda camera: camera.__aexit__())
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def gateway_asking(tmp_path: Path, entries: Sequence[dict[str, object]], **environment: str) -> GatewayProcess:
    asked = json.dumps(list(entries))
    return GatewayProcess(
        tmp_path / "data", environment={"GATEWAY_CAMERA_PULL__CAMERA": asked, "GATEWAY_MQTT__LISTEN": "", **environment}
    )


def events(tmp_path: Path) -> list[Event]:
    return [one for one in list_events(tmp_path / "data", limit=100) if one.transport is Transport.CAMERA_PULL]


def until(holds: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.05)


def test_pulled_picture_is_classified_and_in_the_outbox(tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    password_file.write_text(f"{PASSWORD}\n")
    password_file.chmod(0o600)
    login = {"username": "admin", "password_file": str(password_file)}
    digest = {"auth": Auth.DIGEST_SHA256, "password": PASSWORD}
    with cameras(
        SnapshotCameraOptions(form=Form.BAD_HEADER, nonce_uses=2, **digest),  # type: ignore[arg-type]
        SnapshotCameraOptions(form=Form.MJPEG),
        SnapshotCameraOptions(form=Form.DEAD),
        SnapshotCameraOptions(form=Form.CHUNKED),
    ) as (gate, belt, dead, on_demand):
        entries = [
            {"url": gate.url, "device_id": "gate", "interval_s": 0.3, **login},
            {"url": belt.url, "device_id": "belt", "interval_s": 0.3},
            {"url": dead.url, "device_id": "dead", "interval_s": 0.3, "timeout_s": 0.5},
            {"url": on_demand.url, "device_id": "on-demand", "interval_s": 0},
        ]
        with gateway_asking(tmp_path, entries) as gateway:
            until(lambda: {("gate", 3), ("belt", 3)} <= counts(tmp_path))
            assert on_demand.served == 0
            gateway_says(tmp_path, "devices", "command", "on-demand", "photo")
            until(lambda: ("on-demand", 1) in counts(tmp_path))
            assert "4 cameras asked for pictures" in gateway.banner
            until(lambda: 'outcome="timed_out"' in metrics_of(gateway))
            metrics = metrics_of(gateway)
            listed = gateway_says(tmp_path, "devices", "list", "--json")
        assert gate.refused == 0
    assert {"ripe", "unripe"} <= {label.rpartition(" ")[2] for label in best_labels(tmp_path, "gate")}
    assert on_demand.served == 1
    assert 'gateway_camera_pull_cameras{state="online"} 3.0' in metrics
    states = {row["device_id"]: row["state"] for row in map(json.loads, listed.splitlines())}
    assert {name for name, state in states.items() if state == "online"} == {"gate", "belt", "on-demand"}
    assert "s3cret" not in gateway.log_file.read_text() + gateway.banner + metrics


def counts(tmp_path: Path) -> set[tuple[str, int]]:
    """Return (device, n) for each n up to the number of its events."""
    seen: dict[str, int] = {}
    for one in events(tmp_path):
        seen[one.device_id] = seen.get(one.device_id, 0) + 1
    return {(device_id, n) for device_id, most in seen.items() for n in range(1, most + 1)}


def best_labels(tmp_path: Path, device_id: str) -> set[str]:
    results = [one.result for one in events(tmp_path) if one.device_id == device_id]
    return {
        max(result.predictions, key=lambda one: one.probability).label
        for result in results
        if isinstance(result, Classification)
    }


def metrics_of(gateway: GatewayProcess) -> str:
    return requests.get(f"{gateway.admin}/metrics", timeout=5).text


def gateway_says(tmp_path: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--set", f"gateway.data_dir={tmp_path / 'data'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kill_of_the_gateway_keeps_what_was_committed_and_a_restart_takes_one_picture_more(tmp_path: Path) -> None:
    with cameras(SnapshotCameraOptions(form=Form.FROZEN)) as (frozen,):
        entries = [{"url": frozen.url, "device_id": "frozen", "interval_s": 0.2}]
        gateway = gateway_asking(tmp_path, entries).start()
        until(lambda: frozen.served >= 4 and len(events(tmp_path)) == 1)
        gateway.kill()
        before = events(tmp_path)
        assert len(before) == 1
        asked = frozen.served
        with gateway_asking(tmp_path, entries):
            until(lambda: frozen.served >= asked + 4 and len(events(tmp_path)) == 2)
        assert {one.submission_id for one in before} < {one.submission_id for one in events(tmp_path)}
        assert len(events(tmp_path)) == 2


def test_gateway_without_cameras_loads_nothing_of_them() -> None:
    code = (
        "import sys\nimport gateway.app\n"
        "assert not [name for name in sys.modules if name.startswith(('adapters.camera_pull', 'httpx'))]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
