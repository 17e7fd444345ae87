"""The two Dockerfiles are one; what they say of the gateway is true."""

import json
import re
import tomllib

import pytest

from gateway.healthcheck import DEFAULT_LISTEN
from gateway.settings import AdminSettings, load_settings
from tests.fakes.gateway_process import ROOT

FILES = ("Dockerfile", "Dockerfile.arm32v7")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def stages(name: str) -> str:
    """Return everything from the first FROM on."""
    return (ROOT / name).read_text().partition("\nFROM ")[2]


def test_both_files_have_the_same_stages_and_differ_in_arguments_only() -> None:
    assert stages("Dockerfile")
    assert stages("Dockerfile") == stages("Dockerfile.arm32v7")
    heads = [(ROOT / name).read_text().partition("\nFROM ")[0] for name in FILES]
    instructions = [[line.split("=")[0] for line in head.splitlines() if line and line[0] != "#"] for head in heads]
    assert instructions[0] == instructions[1] == ["ARG BASE", "ARG BUILD_BASE", "ARG FROM_DEBIAN"]


def test_labels_name_this_version_and_licence() -> None:
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', stages("Dockerfile")))
    assert labels["version"] == PROJECT["version"]
    assert labels["licenses"] == PROJECT["license"]
    assert labels["description"] == PROJECT["description"]


@pytest.mark.parametrize("architecture", ["amd64", "arm32v7"])
def test_manifests_of_iot_edge_fit_the_image(architecture: str) -> None:
    """Its name ends as `make image-...` makes it, its ports are those that the image's settings open."""
    manifest = json.loads((ROOT / "config" / "iot-edge" / f"deployment.{architecture}.json").read_text())
    module = manifest["content"]["modulesContent"]["$edgeAgent"]["properties.desired"]["modules"]["gateway"]
    assert module["settings"]["image"].endswith(f"/gateway:{PROJECT['version']}-{architecture}")
    exposed = re.search(r"^EXPOSE (.+)$", stages("Dockerfile"), flags=re.MULTILINE)
    assert exposed is not None
    assert {f"{port}/tcp" for port in exposed[1].split()} == set(
        json.loads(module["settings"]["createOptions"])["ExposedPorts"]
    )


def test_the_images_settings_listen_where_it_exposes_and_keep_data_in_its_volume() -> None:
    settings = load_settings(file=ROOT / "config" / "container.toml", environment={}, overrides={}, cwd=ROOT)
    assert (settings.http.listen, settings.mqtt.listen) == (":8080", ":1883")
    assert str(settings.gateway.data_dir) == "/data"
    assert settings.http.effective_access == settings.mqtt.effective_access == "authenticated"


def test_health_check_asks_where_the_gateway_listens_by_default() -> None:
    assert AdminSettings().listen == DEFAULT_LISTEN
