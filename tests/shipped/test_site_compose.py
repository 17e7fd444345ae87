"""config/compose.yaml, started by the commands that it begins with, on a real Docker engine; ``make test-compose``.

The gateway's image is ours; the broker's is a stand-in with Debian's mosquitto (no registry of images is asked).
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import __version__
from tests.fakes.gateway_process import ROOT
from tests.shipped.bare_debian import CACHE
from tests.shipped.docker_engine import Engine, docker_engine

pytestmark = [pytest.mark.shipped, pytest.mark.timeout(1800)]

COMPOSE = (ROOT / "config" / "compose.yaml").read_text()
BROKER = yaml.safe_load(COMPOSE)["services"]["mosquitto"]["image"]
GATEWAY = f"gateway:{__version__}-amd64"
STAND_IN = "localhost/mosquitto-stand-in:bookworm"
PICTURE = ROOT / "examples" / "banana-ripe.jpg"
PATIENCE_S = 180.0
STOP_S = 10.0


class Project:
    """What an operator has at the site: a folder with two files of ours, and Docker."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self._folder = folder

    def shell(self, script: str) -> str:
        environment = {"GATEWAY_IMAGE": GATEWAY, "GATEWAY_ID": "shed"}
        return self.engine.run("sh", "-euc", script, folder=self._folder, environment=environment).stdout

    def compose(self, arguments: str) -> str:
        return self.shell(f"docker-compose {arguments}")

    def state(self, service: str) -> dict[str, Any]:
        """Return what the engine says of the service's container."""
        found: list[dict[str, Any]] = json.loads(self.shell(f"docker inspect $(docker-compose ps -q {service})"))
        return found[0]

    def stored(self) -> set[str]:
        """Return the submission ids of what is on disk."""
        lines = self.compose("exec -T gateway gateway outbox list --json").splitlines()
        return {str(json.loads(line)["submission_id"]) for line in lines}

    def publish(self, submission_id: str) -> None:
        """Return when the broker has acknowledged it and the gateway has it on disk."""
        login = ["-h", "127.0.0.1", "-u", "cam-1", "-P", "ITS-PASSWORD", "-q", "1"]
        topic = f"devices/cam-1/readings/{submission_id}"
        self.engine.here("mosquitto_pub", *login, "-t", topic, "-m", '{"temperature": 4}')
        until(lambda: submission_id in self.stored(), f"{submission_id} on disk")

    def until_healthy(self) -> None:
        for service in ("mosquitto", "gateway"):
            until(lambda: self.state(service)["State"]["Health"]["Status"] == "healthy", f"{service} is healthy")  # noqa: B023


def until(true: Callable[[], bool], what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up_at, f"never came: {what}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Up, by the commands at the head of the file."""
    subprocess.run(["sh", str(ROOT / "tests" / "shipped" / "broker_image.sh"), STAND_IN, str(CACHE)], check=True)
    folder = tmp_path_factory.mktemp("site")
    for name in ("compose.yaml", "mosquitto.conf"):
        shutil.copy(ROOT / "config" / name, folder)
    with docker_engine(tmp_path_factory.mktemp("engine")) as engine:
        engine.load(f"localhost/{GATEWAY}", GATEWAY)
        engine.load(STAND_IN, BROKER)
        project = Project(engine, folder)
        try:
            project.shell(head_commands())
            project.until_healthy()
            yield project
        finally:
            print(project.compose("logs --no-color --tail 30"))
            project.compose("down --volumes")


def head_commands() -> str:
    """Return the commands of the file's head up to the last `up`, for Debian's docker-compose and without sudo."""
    head = COMPOSE.partition("\nservices:")[0]
    lines = [line.removeprefix("#   ") for line in head.splitlines() if line.startswith("#   ")]
    commands = "\n".join(lines).partition("docker compose exec")[0]
    assert commands.rstrip().endswith("docker compose up -d")
    return commands.replace("docker compose", "docker-compose").replace("sudo ", "").replace("HostName=...", "")


def when(text: str) -> datetime:
    """Parse the engine's times, which have nanoseconds or the site's zone."""
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text))


def test_gateway_was_started_only_when_the_broker_was_healthy(project: Project) -> None:
    checks = project.state("mosquitto")["State"]["Health"]["Log"]
    first_good = next(check for check in checks if check["ExitCode"] == 0)
    assert when(project.state("gateway")["State"]["StartedAt"]) > when(first_good["End"])


def test_message_through_the_broker_is_stored(project: Project) -> None:
    project.publish("first")


def test_picture_at_port_80_is_classified_for_a_device_with_a_token(project: Project) -> None:
    said = project.compose("exec -T gateway gateway devices add cam-2")
    (token,) = re.findall(r"^\s*(?:token:?\s+)?(\S{30,})\s*$", said, re.MULTILINE)
    post = ["curl", "--silent", "--data-binary", f"@{PICTURE}", "http://127.0.0.1/image"]
    assert "401" in project.engine.here(*post).stdout
    answer = json.loads(project.engine.here(*post, "-H", f"Authorization: Bearer {token}").stdout)
    assert max(answer["predictions"], key=lambda one: float(one["probability"]))["tagName"] == "ripe"


def test_limits_and_rights_are_those_of_the_file(project: Project) -> None:
    for service, limit_mb in (("gateway", 240), ("mosquitto", 48)):
        host = project.state(service)["HostConfig"]
        assert host["Memory"] == host["MemorySwap"] == limit_mb * 2**20
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
    refused = project.shell("docker-compose exec -T gateway touch /usr/x 2>&1 || true")
    assert "Read-only file system" in refused
    print(project.shell("docker stats --no-stream --format '{{.Name}} {{.MemUsage}}'"))


def test_killed_gateway_comes_back_with_its_data(project: Project) -> None:
    project.publish("before-the-kill")
    state = project.state("gateway")
    project.shell(f"kill -9 {state['State']['Pid']}")
    until(lambda: project.state("gateway")["RestartCount"] > state["RestartCount"], "a new life")
    project.until_healthy()
    project.publish("after-the-kill")
    assert {"first", "before-the-kill", "after-the-kill"} <= project.stored()


def test_stop_takes_less_than_ten_seconds_and_what_comes_meanwhile_waits_at_the_broker(project: Project) -> None:
    began = time.monotonic()
    project.compose("stop gateway")
    took_s = time.monotonic() - began
    print(f"stopped in {took_s:.1f} s")
    assert took_s < STOP_S
    assert project.shell("docker inspect --format '{{.State.ExitCode}}' $(docker-compose ps -q gateway)").strip() == "0"
    login = ["-h", "127.0.0.1", "-u", "cam-1", "-P", "ITS-PASSWORD", "-q", "1"]
    project.engine.here("mosquitto_pub", *login, "-t", "devices/cam-1/readings/meanwhile", "-m", '{"temperature": 5}')
    project.compose("start gateway")
    project.until_healthy()
    until(lambda: "meanwhile" in project.stored(), "what came meanwhile")


def test_new_containers_of_another_folder_find_the_data(project: Project) -> None:
    """As an update does: down, new images, up."""
    before = project.stored()
    project.compose("down")
    project.compose("--project-name elsewhere up -d")
    try:
        lines = project.compose("--project-name elsewhere exec -T gateway gateway outbox list --json").splitlines()
        assert {str(json.loads(line)["submission_id"]) for line in lines} >= before
    finally:
        project.compose("--project-name elsewhere down")
        project.compose("up -d")
