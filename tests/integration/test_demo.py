"""``gateway demo``: real gateway, real SDK, real broker; failures; a ledger that adds up."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from gateway.outbox.inspection import list_events
from tests.fakes.child_process import start_child
from tests.fakes.gateway_process import ROOT, GatewayProcess
from tests.fakes.mosquitto import needs_mosquitto


@needs_mosquitto
def test_the_demo_ends_with_a_ledger_that_adds_up(tmp_path: Path) -> None:
    pictures = ["--picture", "examples/banana-ripe.jpg", "--picture", "examples/apple-unripe.jpg"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "gateway",
            "demo",
            "--seconds",
            "18",
            "--interval",
            "0.4",
            "--seed",
            "7",
            *pictures,
            "--folder",
            str(tmp_path / "site"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "uplink down" in done.stdout
    events = list_events(tmp_path / "site" / "data", limit=1000)
    assert "yard-camera" in {event.device_id for event in events}
    assert "kill -9" in done.stdout
    assert done.stdout.rstrip().endswith("It adds up.")


def test_ctrl_c_goes_on_to_the_ledger(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "demo", "--seconds", "3600", "--no-kills"]
    command += ["--picture", "examples/banana-ripe.jpg", "--folder", str(tmp_path / "site")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        said = []
        for line in demo.stdout:
            said.append(line)
            if "running" in line:
                demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0, "".join(said)
    assert "Ctrl-C: on to the ledger" in "".join(said)
    assert said[-1] == "It adds up.\n"


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "is not empty" in done.stderr


def test_a_simulated_http_camera_tells_each_answer(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path / "data") as gateway:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "gateway",
                "simulate",
                "device",
                "http",
                "--url",
                gateway.http,
                "--count",
                "2",
                "--interval",
                "0",
                "--picture",
                "examples/banana-ripe.jpg",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "ripe" in done.stdout
    assert done.stdout.rstrip().endswith("cam-1: 2 of 2 accepted")


def test_a_simulated_snapshot_camera_prints_the_line_that_makes_a_gateway_ask_it(tmp_path: Path) -> None:
    options = ["--port", "0", "--auth", "digest", "--tls", "--form", "mjpeg", "--interval", "0.2"]
    with start_child(
        [
            sys.executable,
            "-m",
            "gateway",
            "simulate",
            "device",
            "camera",
            *options,
            "--picture",
            "examples/banana-ripe.jpg",
            "--dir",
            str(tmp_path / "camera"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as camera:
        try:
            assert camera.stdout is not None
            line = next(line for line in camera.stdout if line.startswith("export "))
            name, _, value = line.removeprefix("export ").partition("=")
            environment = {name: value.strip().strip("'")}
            with GatewayProcess(tmp_path / "data", environment=environment):
                assert any(told.startswith("picture 1,") for told in camera.stdout)
                deadline_s = time.monotonic() + 20
                while not list(list_events(tmp_path / "data", limit=1)):
                    assert time.monotonic() < deadline_s
                    time.sleep(0.05)
        finally:
            camera.terminate()
    (event,) = list_events(tmp_path / "data", limit=10)  # the picture never changes
    assert event.device_id == "simulated-camera"
