"""Who the gateway is to the hub: IoT Edge's environment, the provisioning service, and one way at a time."""

import base64
from pathlib import Path

import pytest

from gateway.cloud.identity import EdgeModule, identity_of, in_words
from gateway.settings import cloud_relations
from tests.unit.settings.conftest import Load, Mistakes

MODULE = {
    "IOTEDGE_WORKLOADURI": "unix:///var/run/iotedge/workload.sock",
    "IOTEDGE_GATEWAYHOSTNAME": "site-7",
    "IOTEDGE_IOTHUBHOSTNAME": "hub.azure-devices.net",
    "IOTEDGE_DEVICEID": "edge-1",
    "IOTEDGE_MODULEID": "gateway",
    "IOTEDGE_MODULEGENERATIONID": "638000000000000000",
    "IOTEDGE_APIVERSION": "2018-06-28",
    "IOTEDGE_AUTHSCHEME": "sasToken",
}
FALLBACK = "HostName=hub.azure-devices.net;DeviceId=edge-1;ModuleId=m;SharedAccessKey=c2VjcmV0;GatewayHostName=site-7"
CONNECTION_STRING = "HostName=hub.azure-devices.net;DeviceId=gw1;SharedAccessKey=c2VjcmV0"
KEY = base64.b64encode(bytes(range(32))).decode()


# --- a module of IoT Edge -----------------------------------------------------------------------------


def test_a_module_is_noticed_by_its_environment_alone(load: Load) -> None:
    settings = load(environment=MODULE)

    identity = identity_of(settings.cloud)
    assert isinstance(identity, EdgeModule)
    assert identity.environment == MODULE
    assert settings.cloud.configured
    assert settings.provenance.origins["cloud.edge.workload_uri"] == "environment IOTEDGE_WORKLOADURI"


def test_check_says_in_words_which_module_it_is(load: Load) -> None:
    assert in_words(load(environment=MODULE).cloud) == (
        "module gateway of the IoT Edge device edge-1, through edgeHub at site-7, to hub.azure-devices.net"
    )


def test_a_module_is_named_after_its_device_not_after_its_container(load: Load) -> None:
    settings = load(environment=MODULE)

    assert settings.gateway.id == "edge-1"
    assert load(environment=MODULE | {"GATEWAY_GATEWAY__ID": "mine"}).gateway.id == "mine"


def test_a_device_whose_name_can_not_be_a_gateways_is_told_where_it_came_from(mistakes: Mistakes) -> None:
    (problem,) = mistakes(environment=MODULE | {"IOTEDGE_DEVICEID": "edge#1"})

    assert (problem.where, problem.key) == ("environment IOTEDGE_DEVICEID", "gateway.id")


def test_what_the_operator_gives_wins_over_the_runtime(load: Load) -> None:
    settings = load(environment=MODULE | {"IOTHUB_DEVICE_CONNECTION_STRING": CONNECTION_STRING})

    assert settings.cloud.identity_source == "connection_string"


@pytest.mark.parametrize("absent", sorted(set(MODULE) - {"IOTEDGE_AUTHSCHEME", "IOTEDGE_DEVICEID"}))
def test_a_runtime_that_says_half_is_a_mistake(mistakes: Mistakes, absent: str) -> None:
    (problem,) = mistakes(environment={name: value for name, value in MODULE.items() if name != absent})

    assert "an IoT Edge module is told cloud.edge." in problem.text


def test_another_way_of_proving_than_tokens_is_refused(mistakes: Mistakes) -> None:
    (problem,) = mistakes(environment=MODULE | {"IOTEDGE_AUTHSCHEME": "x509"})

    assert problem.where == "environment IOTEDGE_AUTHSCHEME"
    assert problem.text == "is not one of sasToken"


def test_the_fallback_of_development_is_a_module_too(load: Load, ca_file: Path) -> None:
    settings = load(environment={"EdgeHubConnectionString": FALLBACK, "EdgeModuleCACertificateFile": str(ca_file)})

    identity = identity_of(settings.cloud)
    assert isinstance(identity, EdgeModule)
    assert (identity.module_id, identity.gateway_hostname) == ("m", "site-7")
    assert "c2VjcmV0" not in repr(identity) + repr(settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CONNECTION_STRING, "it has no ModuleId and no GatewayHostName"),
        ("HostName=hub", "it has no DeviceId"),
        (FALLBACK, "needs cloud.edge.ca_file too"),
    ],
)
def test_a_fallback_that_can_not_work_is_a_mistake(mistakes: Mistakes, text: str, said: str) -> None:
    (problem,) = mistakes(environment={"EdgeHubConnectionString": text})

    assert problem.text.startswith(said)
    assert "c2VjcmV0" not in str(problem)


# --- the provisioning service -------------------------------------------------------------------------


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    from gateway.simulators.iot_hub.certificates import CertificateAuthority

    return CertificateAuthority(tmp_path / "authority").ca_file


@pytest.fixture
def key_file(site: Path) -> Path:
    file = site / "device.key"
    file.write_text(KEY + "\n")
    file.chmod(0o600)
    return file


ASKED = '[cloud.provisioning]\nid_scope = "0ne1"\nregistration_id = "gw1"\n'


@pytest.mark.parametrize("name", ["key_file", "group_key_file"])
def test_a_scope_an_id_and_a_key_configure_the_cloud(load: Load, key_file: Path, name: str) -> None:
    cloud = load(f'{ASKED}{name} = "device.key"').cloud

    assert cloud.identity_source == "provisioning"
    assert getattr(cloud.provisioning, name) == key_file
    assert in_words(cloud) == "gw1, by the provisioning service global.azure-devices-provisioning.net (scope 0ne1)"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_key_that_others_can_reach_is_refused(mistakes: Mistakes, key_file: Path, mode: int) -> None:
    key_file.chmod(mode)

    (problem,) = mistakes(f'{ASKED}key_file = "device.key"')

    assert f"mode {mode:04o}" in problem.text
    assert problem.cure.startswith(f"Close it: chmod 600 {key_file}")


def test_a_credential_of_systemd_may_show_its_mask_as_rights_of_the_group(
    load: Load, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud_relations, "SYSTEMD_CREDENTIALS", key_file.parent)
    key_file.chmod(0o440)

    assert load(f'{ASKED}key_file = "device.key"').cloud.identity_source == "provisioning"


@pytest.mark.parametrize("content", ["", "not base64!", "c2hvcnQ=", f"{KEY}\n{KEY}"])
def test_a_file_without_a_symmetric_key_is_a_mistake_and_is_not_quoted(
    mistakes: Mistakes, key_file: Path, content: str
) -> None:
    key_file.write_text(content)

    (problem,) = mistakes(f'{ASKED}key_file = "device.key"')

    assert problem.text == "holds no symmetric key"
    assert KEY not in str(problem)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        (ASKED, "has nothing to prove who this is"),
        (ASKED + 'key_file = "device.key"\ngroup_key_file = "device.key"', "has key_file and group_key_file to prove"),
        ('[cloud.provisioning]\nid_scope = "0ne1"\nkey_file = "device.key"', "provisioning needs registration_id too"),
        ('[cloud.provisioning]\nregistration_id = "gw1"\nkey_file = "device.key"', "provisioning needs id_scope too"),
        (ASKED + 'certificate_key_file = "device.key"', "X.509 needs certificate_file too"),
    ],
)
def test_what_is_missing_or_too_much_is_told(mistakes: Mistakes, key_file: Path, toml: str, said: str) -> None:
    problems = mistakes(toml)

    assert any(problem.text.startswith(said) for problem in problems)


def test_a_registration_id_of_other_characters_is_a_mistake(mistakes: Mistakes, key_file: Path) -> None:
    (problem,) = mistakes('[cloud.provisioning]\nid_scope = "0ne1"\nregistration_id = "gw 1"\nkey_file = "device.key"')

    assert problem.text == "is not a registration id"


def test_provisioning_and_a_connection_string_exclude_each_other(mistakes: Mistakes, key_file: Path) -> None:
    (problem,) = mistakes(
        f'{ASKED}key_file = "device.key"', environment={"IOTHUB_DEVICE_CONNECTION_STRING": CONNECTION_STRING}
    )

    assert problem.text == "belongs to the provisioning service, and cloud.connection_string is given too"
