"""``gateway doctor`` on this machine: alone, beside a running gateway, and where something must be mended."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from gateway.doctor.examination import PROBE_PREFIX
from tests.fakes.gateway_process import DEMO_MODEL, ROOT, GatewayProcess

QUIET_PORTS = ("http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", "mqtt.listen=127.0.0.1:0")


def doctor(data_dir: Path, *sets: str, as_json: bool = True) -> subprocess.CompletedProcess[str]:
    every = (f"gateway.data_dir={data_dir}", f"model.path={DEMO_MODEL}", *QUIET_PORTS, *sets)
    arguments = [word for pair in every for word in ("--set", pair)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("GATEWAY_", "IOTHUB_"))}
    return subprocess.run(
        [sys.executable, "-m", "gateway", "doctor", *arguments, *(["--json"] if as_json else [])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def by_check(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_every_part_of_a_new_machine_is_looked_at_and_nothing_is_left_behind(tmp_path: Path) -> None:
    done = doctor(tmp_path / "not" / "yet" / "there")
    found = by_check(done)
    assert set(found) == {
        *("gateway", "file system", "data directory", "free space", "sync", "results a second", "clock", "memory"),
        *("cores", "model", "hub", "port http.listen", "port mqtt.listen", "port admin.listen"),
    }
    assert found["sync"]["figures"]["sync_median_s"] > 0
    assert found["results a second"]["figures"]["commits_one_by_one_per_s"] > 0
    assert found["model"]["level"] == "OK"
    assert list(tmp_path.iterdir()) == []


def test_it_works_beside_a_running_gateway(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path / "data") as gateway:
        port = gateway.http.rpartition(":")[2]
        found = by_check(doctor(gateway.data_dir, f"http.listen=127.0.0.1:{port}"))
        assert gateway.post_picture((ROOT / "examples" / "apple-ripe.jpg").read_bytes()).ok
        assert not list(gateway.data_dir.glob(f"{PROBE_PREFIX}*"))
    assert found["gateway"]["text"] == "runs on this data"
    assert found["port http.listen"]["text"].endswith("is served by the gateway that runs")
    assert found["data directory"]["level"] == "OK"


def test_what_must_be_mended_is_told_with_its_cure_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = doctor(
            tmp_path,
            f"http.listen=127.0.0.1:{taken.getsockname()[1]}",
            "ble.enabled=true",
            as_json=False,
        )
    assert done.returncode == 1
    assert "FAIL data directory" in done.stdout
    assert "FAIL port http.listen" in done.stdout
    assert "→ see who has it: ss -ltnp" in done.stdout
