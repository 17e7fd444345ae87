"""config/compose.yaml: well formed by the Compose Specification, and true to the gateway, the image and the broker."""

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gateway import __version__
from gateway.settings import Settings, load_settings
from tests.conftest import MISSING_PACKAGE
from tests.fakes.gateway_process import ROOT

FILE = ROOT / "config" / "compose.yaml"
SCHEMA = json.loads((ROOT / "tests" / "data" / "compose" / "compose.schema.json").read_text())
# What Linux and Docker leave of a 512 MB board: see the file.
BOARD_MB = 420 - 150 + 20
CHILD_AND_PARENT_MB = 52


@pytest.fixture
def project() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


@pytest.fixture
def settings(project: dict[str, Any], tmp_path: Path) -> Settings:
    """The gateway's settings in its container, with the variables' defaults and a secret of the test's."""
    gateway = project["services"]["gateway"]
    (tmp_path / "mqtt_password").write_text("a password\n")
    (tmp_path / "mqtt_password").chmod(0o400)
    environment = {
        key: re.sub(r"\$\{\w+:-(\w*)\}", r"\1", str(value)).replace("/run/secrets", str(tmp_path))
        for key, value in gateway["environment"].items()
    }
    overrides = dict(text.split("=", 1) for text in gateway["command"][2::2])
    return load_settings(ROOT / "config" / "container.toml", environment, overrides, tmp_path)


def test_file_follows_the_compose_specification(project: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(project, SCHEMA)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mem_limt", "1m"),
        ("mem_limit", "240 megabytes"),
        ("ports", ["eighty:8080"]),
        ("depends_on", {"mosquitto": {"condition": "healthy"}}),
        ("healthcheck", {"test": "nc", "interval": "ten"}),
        ("restart", "sometimes"),
        ("security_opt", "no-new-privileges"),
    ],
)
def test_schema_finds_what_compose_would_refuse(project: dict[str, Any], key: str, value: object) -> None:
    broken = copy.deepcopy(project)
    broken["services"]["gateway"][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)


@pytest.fixture(scope="module")
def compose() -> list[str]:
    """Docker's `docker compose`, or Debian's docker-compose; both read a file without an engine."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and _works(command):
            return command
    pytest.skip(f"{MISSING_PACKAGE} docker-compose")


def _works(command: list[str]) -> bool:
    return subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0


def read_by_compose(compose: list[str], text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    for name in ("mqtt.password", "passwords"):
        (folder / name).write_text("x")
    (folder / "compose.yaml").write_text(text)
    return subprocess.run([*compose, "config"], cwd=folder, capture_output=True, text=True, check=False)


def test_compose_itself_takes_it_and_understands_it_as_we_do(compose: list[str], tmp_path: Path) -> None:
    done = read_by_compose(compose, FILE.read_text(), tmp_path)
    assert done.returncode == 0, done.stderr
    understood = yaml.safe_load(done.stdout)
    gateway = understood["services"]["gateway"]
    assert gateway["depends_on"]["mosquitto"]["condition"] == "service_healthy"
    assert gateway["environment"]["GATEWAY_BLE__ENABLED"] == "false"
    assert understood["volumes"]["data"]["name"] == "gateway_data"


def test_compose_itself_refuses_a_misspelt_limit(compose: list[str], tmp_path: Path) -> None:
    done = read_by_compose(compose, FILE.read_text().replace("mem_limit:", "mem_limt:"), tmp_path)
    assert done.returncode != 0
    assert "mem_limt" in done.stderr


def test_names_that_the_file_refers_to_are_declared_in_it(project: dict[str, Any]) -> None:
    for service in project["services"].values():
        named = {volume.split(":")[0] for volume in service["volumes"] if volume[0] not in "./"}
        assert named <= project["volumes"].keys()
        assert set(service["secrets"]) <= project["secrets"].keys()
        assert service.get("depends_on", {}).keys() <= project["services"].keys()
        local = [volume.split(":")[0] for volume in service["volumes"] if volume.startswith("./")]
        assert all((FILE.parent / name).is_file() for name in local)


def test_gateway_talks_to_the_broker_and_port_80_is_its_http(project: dict[str, Any], settings: Settings) -> None:
    assert settings.mqtt.url == "mqtt://mosquitto"
    assert settings.mqtt.password is not None
    assert settings.mqtt.listen == ""
    assert project["services"]["gateway"]["ports"] == [f"80{settings.http.listen}"]
    assert f"data:{settings.gateway.data_dir}" in project["services"]["gateway"]["volumes"]


def test_image_is_this_versions(project: dict[str, Any]) -> None:
    assert project["services"]["gateway"]["image"] == f"${{GATEWAY_IMAGE:-gateway:{__version__}-arm32v7}}"


def test_gateway_waits_for_a_healthy_broker_and_has_a_health_check_of_its_own(project: dict[str, Any]) -> None:
    services = project["services"]
    assert services["gateway"]["depends_on"] == {"mosquitto": {"condition": "service_healthy"}}
    assert services["mosquitto"]["healthcheck"]["test"]
    assert "healthcheck" not in services["gateway"]  # the image's
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_limits_fit_a_board_of_512_mb_and_the_gateways_budget_fits_its_limit(
    project: dict[str, Any], settings: Settings
) -> None:
    limits = {name: int(service["mem_limit"].removesuffix("m")) for name, service in project["services"].items()}
    assert sum(limits.values()) <= BOARD_MB
    assert settings.limits.memory_budget_mb + CHILD_AND_PARENT_MB <= limits["gateway"]
    assert all(service["memswap_limit"] == service["mem_limit"] for service in project["services"].values())


def test_both_run_without_rights_on_a_read_only_system(project: dict[str, Any]) -> None:
    for service in project["services"].values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_brokers_command_makes_of_our_conf_one_for_the_sites_network_that_asks_for_a_login(
    project: dict[str, Any], tmp_path: Path
) -> None:
    script = project["services"]["mosquitto"]["command"][2]
    for inside, outside in {
        "/mosquitto/ours.conf": str(ROOT / "config" / "mosquitto.conf"),
        "/tmp/mosquitto.conf": str(tmp_path / "mosquitto.conf"),
        "/run/secrets": str(tmp_path),
        "/mosquitto/data": str(tmp_path),
        "exec mosquitto": "true",
    }.items():
        assert inside in script
        script = script.replace(inside, outside)
    subprocess.run(["sh", "-c", script], check=True)
    conf = (tmp_path / "mosquitto.conf").read_text()
    assert re.findall(
        r"^(?:listener|allow_anonymous|password_file|persistence_location) .*$", conf, flags=re.MULTILINE
    ) == [
        "listener 1883",
        "allow_anonymous false",
        f"password_file {tmp_path}/passwords",
        f"persistence_location {tmp_path}/",
    ]
