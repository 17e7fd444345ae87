"""The deployment manifests of IoT Edge: well formed, and such that the gateway in the module works as the docs say."""

import copy
import json
import re
import subprocess
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gateway import RELEASED_AT, __version__
from gateway.settings import Settings, load_settings, parse_listen

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = sorted(Path(str(files("config"))).glob("iot-edge/deployment.*.json"))
SCHEMA = json.loads((ROOT / "tests" / "data" / "iot-edge" / "deployment.schema.json").read_text())
# Source: the lifecycle in the release notes of Azure/azure-iotedge. 1.5 was supported until 2026-11-10.
SUPPORTED_UNTIL = {"1.6": date(2028, 11, 14)}
# What the runtime adds at the device.
RUNTIME = {
    "IOTEDGE_WORKLOADURI": "unix:///var/run/iotedge/workload.sock",
    "IOTEDGE_GATEWAYHOSTNAME": "site-7",
    "IOTEDGE_IOTHUBHOSTNAME": "hub.azure-devices.net",
    "IOTEDGE_DEVICEID": "edge-1",
    "IOTEDGE_MODULEID": "gateway",
    "IOTEDGE_MODULEGENERATIONID": "1",
    "IOTEDGE_APIVERSION": "2018-06-28",
}

each_manifest = pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.name)


def desired(file: Path, module: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())["content"]["modulesContent"]
    properties: dict[str, Any] = content[module]["properties.desired"]
    return properties


def our_module(file: Path) -> dict[str, Any]:
    module: dict[str, Any] = desired(file, "$edgeAgent")["modules"]["gateway"]
    return module


def create_options(module: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = json.loads(module["settings"]["createOptions"])
    return options


def settings_in_module(file: Path, cwd: Path) -> Settings:
    told = {name: str(entry["value"]) for name, entry in our_module(file)["env"].items()}
    return load_settings(None, RUNTIME | told, {}, cwd)


def test_there_is_a_manifest_for_each_image() -> None:
    assert [file.name for file in MANIFESTS] == [f"deployment.{name}.json" for name in ("amd64", "arm32v7", "arm64")]


@each_manifest
def test_a_manifest_follows_the_schema(file: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(file.read_text()), SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("$edgeHub", "storeAndForwardConfiguration"), None),
        (("$edgeHub", "routes", "events"), "SELECT * FROM everything"),
        (("$edgeAgent", "modules", "gateway", "restartPolicy"), "sometimes"),
        (("$edgeAgent", "modules", "gateway", "settings", "image"), "registry/gateway"),
        (("$edgeAgent", "modules", "gateway", "env", "A.B"), {"value": 1}),
        (("$edgeAgent", "modules", "gateway", "settings", "createOptions"), {"HostConfig": {}}),
        (("$edgeAgent", "systemModules", "edgeHub"), None),
    ],
)
def test_the_schema_finds_what_the_runtime_would_refuse(path: tuple[str, ...], value: object) -> None:
    manifest = copy.deepcopy(json.loads(MANIFESTS[0].read_text()))
    place = manifest["content"]["modulesContent"][path[0]]["properties.desired"]
    for name in path[1:-1]:
        place = place[name]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, SCHEMA)


@each_manifest
def test_the_runtime_is_a_version_that_is_supported_at_our_release(file: Path) -> None:
    system = desired(file, "$edgeAgent")["systemModules"]
    images = {name: module["settings"]["image"].partition(":") for name, module in system.items()}

    assert {name: image[0] for name, image in images.items()} == {
        "edgeAgent": "mcr.microsoft.com/azureiotedge-agent",
        "edgeHub": "mcr.microsoft.com/azureiotedge-hub",
    }
    (version,) = {image[2] for image in images.values()}
    assert SUPPORTED_UNTIL[version] > RELEASED_AT.date()


@each_manifest
def test_the_settings_in_the_module_are_right_and_make_it_a_module(file: Path, tmp_path: Path) -> None:
    settings = settings_in_module(file, tmp_path)

    assert settings.cloud.identity_source == "edge"
    assert settings.http.effective_access == "open"
    assert settings.http.allowed_networks
    assert settings.mqtt.effective_access == "authenticated"


@each_manifest
def test_port_80_of_the_device_is_the_gateways_http_port(file: Path, tmp_path: Path) -> None:
    settings = settings_in_module(file, tmp_path)
    bindings = create_options(our_module(file))["HostConfig"]["PortBindings"]

    assert bindings == {
        f"{parse_listen(settings.http.listen).port}/tcp": [{"HostPort": "80"}],
        f"{parse_listen(settings.mqtt.listen).port}/tcp": [{"HostPort": "1883"}],
    }
    assert not parse_listen(settings.http.listen).is_loopback


@each_manifest
def test_the_data_is_in_a_volume_and_the_bus_of_the_host_is_there(file: Path, tmp_path: Path) -> None:
    binds = create_options(our_module(file))["HostConfig"]["Binds"]

    assert f"gateway-data:{settings_in_module(file, tmp_path).gateway.data_dir}" in binds
    assert "/run/dbus:/run/dbus:ro" in binds


@each_manifest
def test_the_container_may_use_what_the_gateways_budget_and_its_children_need(file: Path, tmp_path: Path) -> None:
    """OPERATIONS: the SDK's child takes about 40 MB, the parent 12."""
    host = create_options(our_module(file))["HostConfig"]

    assert host["Memory"] >= (settings_in_module(file, tmp_path).limits.memory_budget_mb + 52) * 1024 * 1024
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]


@each_manifest
def test_the_route_takes_what_the_gateway_sends(file: Path) -> None:
    from gateway.cloud.azure_iot_hub import MODULE_OUTPUT

    routes = desired(file, "$edgeHub")["routes"]
    assert routes == {"events": f"FROM /messages/modules/gateway/outputs/{MODULE_OUTPUT} INTO $upstream"}


@each_manifest
def test_edge_hub_keeps_messages_as_long_as_the_outbox_would_and_across_its_own_updates(file: Path) -> None:
    """It acknowledges at once, so from then on its time to live decides what an outage loses."""
    kept_s = desired(file, "$edgeHub")["storeAndForwardConfiguration"]["timeToLiveSecs"]
    system = desired(file, "$edgeAgent")["systemModules"]

    assert kept_s >= Settings().outbox.rows_max * 60  # a year of one result a minute
    for part in system.values():
        folder = part["env"]["storageFolder"]["value"]
        assert any(bind.endswith(f":{folder}") for bind in create_options(part)["HostConfig"]["Binds"])


def test_the_manifests_differ_in_the_image_only() -> None:
    texts = [re.sub(rf"gateway:{re.escape(__version__)}-\w+", "gateway", file.read_text()) for file in MANIFESTS]

    assert len(set(texts)) == 1


@each_manifest
def test_a_manifest_names_the_image_of_its_architecture(file: Path) -> None:
    architecture = file.name.split(".")[1]

    assert our_module(file)["settings"]["image"].endswith(f"/gateway:{__version__}-{architecture}")


def test_every_placeholder_is_explained_in_the_walk_through() -> None:
    placeholders = {found for file in MANIFESTS for found in re.findall(r"<[a-z ]+>", file.read_text())}

    walk_through = (ROOT / "docs" / "IOT-EDGE.md").read_text()
    assert placeholders
    assert [name for name in placeholders if name not in walk_through] == []


@each_manifest
def test_the_walk_throughs_line_fills_in_a_manifest(file: Path) -> None:
    """With a password of the kind that a registry makes: base64, slashes and all."""
    walk_through = (ROOT / "docs" / "IOT-EDGE.md").read_text()
    (line,) = re.findall(r"^(sed -e .+) > deployment\.json$", walk_through, re.MULTILINE)
    line = line.replace("…", "a/b+c==").replace("arm32v7", file.name.split(".")[1])
    filled = subprocess.run(["sh", "-euc", line], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert json.loads(filled)["content"]
    assert "<" not in filled
    assert '"password": "a/b+c=="' in filled
    assert '"address": "myregistry.azurecr.io"' in filled
