"""Where settings come from, which source wins, and what paths are relative to."""

import socket
from pathlib import Path

import pytest

from gateway.settings import Settings, load_settings
from tests.unit.settings.conftest import Load


def test_without_any_source_settings_are_the_defaults(load: Load) -> None:
    settings = load()

    assert settings.http == Settings().http
    assert settings.cloud == Settings().cloud
    assert settings.limits == Settings().limits
    assert not settings.cloud.configured


def test_each_source_wins_over_the_one_before(load: Load) -> None:
    toml = '[gateway]\nid = "file"\nlog_level = "error"\n[http]\nlisten = ":1"\nbody_timeout_s = 7'

    settings = load(
        toml,
        environment={"GATEWAY_GATEWAY__ID": "environment", "GATEWAY_HTTP__LISTEN": ":2"},
        overrides={"http.listen": ":3"},
    )

    assert settings.http.listen == ":3"
    assert settings.gateway.id == "environment"
    assert settings.http.body_timeout_s == 7
    assert settings.gateway.log_level == "error"
    assert settings.http.header_timeout_s == 10


def test_environment_variables_are_read_in_any_case(load: Load) -> None:
    assert load(environment={"gateway_http__Listen": ":9"}).http.listen == ":9"


def test_deeper_tables_take_one_more_double_underscore(load: Load) -> None:
    settings = load(environment={"GATEWAY_HTTP__URL_FETCH__TIMEOUT_S": "2.5"})

    assert settings.http.url_fetch.timeout_s == 2.5


@pytest.mark.parametrize("text", ["a.example,b.example", " a.example , b.example,", '["a.example", "b.example"]'])
def test_a_list_from_the_environment_is_comma_separated_or_json(load: Load, text: str) -> None:
    settings = load(environment={"GATEWAY_HTTP__URL_FETCH__ALLOWED_HOSTS": text})

    assert settings.http.url_fetch.allowed_hosts == ("a.example", "b.example")


@pytest.mark.parametrize(("text", "value"), [("true", True), ("YES", True), ("1", True), ("off", False), ("0", False)])
def test_a_switch_from_the_environment_is_read_as_people_write_it(load: Load, text: str, *, value: bool) -> None:
    assert load(environment={"GATEWAY_ADMIN__ENABLED": text}).admin.enabled is value


def test_an_empty_environment_variable_counts_as_not_set(load: Load) -> None:
    settings = load(
        '[model]\nworkers = 2\n[cloud]\nproxy = "http://p:1"',
        environment={"GATEWAY_MODEL__WORKERS": "", "GATEWAY_CLOUD__PROXY": "", "IOTHUB_DEVICE_CONNECTION_STRING": ""},
    )

    assert settings.model.workers == 2
    assert settings.cloud.proxy == "http://p:1"


def test_an_empty_text_on_the_command_line_clears_a_key(load: Load) -> None:
    settings = load(
        '[cloud]\nproxy = "http://p:1"\nca_file = "x.pem"', overrides={"cloud.proxy": "", "cloud.ca_file": ""}
    )

    assert settings.cloud.proxy == ""
    assert settings.cloud.ca_file is None


@pytest.mark.parametrize(
    "name", ["GATEWAY_FAILPOINT", "GATEWAY_CONFIG", "GATEWAY_PORT_8080_TCP_ADDR", "GATEWAY_SERVICE_HOST"]
)
def test_variables_that_are_none_of_our_settings_are_let_be(load: Load, name: str) -> None:
    load(environment={name: "anything"})


def test_a_file_with_a_byte_order_mark_is_read(load: Load) -> None:
    assert load('\ufeff[gateway]\nid = "notepad"').gateway.id == "notepad"


# --- paths --------------------------------------------------------------------------------------------


def test_paths_in_the_file_start_from_its_folder(load: Load, site: Path) -> None:
    settings = load('[gateway]\ndata_dir = "var"\n[model]\npath = "../bundle"')

    assert settings.gateway.data_dir == site / "var"
    assert settings.model.path == site / "../bundle"


def test_paths_in_the_environment_and_on_the_command_line_start_from_the_current_folder(load: Load, cwd: Path) -> None:
    settings = load("", environment={"GATEWAY_GATEWAY__DATA_DIR": "var"}, overrides={"model.path": "bundle"})

    assert settings.gateway.data_dir == cwd / "var"
    assert settings.model.path == cwd / "bundle"


def test_absolute_paths_stay_and_a_tilde_is_the_home_folder(load: Load) -> None:
    settings = load('[gateway]\ndata_dir = "~/var"\n[model]\npath = "/srv/bundle"', environment={"HOME": "/home/ann"})

    assert settings.gateway.data_dir == Path("/home/ann/var")
    assert settings.model.path == Path("/srv/bundle")


def test_data_lives_in_the_current_folder_by_default(load: Load, cwd: Path) -> None:
    assert load("").gateway.data_dir == cwd / "data"


def test_data_lives_in_the_first_state_directory_that_systemd_gives(load: Load) -> None:
    settings = load("", environment={"STATE_DIRECTORY": "/var/lib/gateway:/var/lib/other"})

    assert settings.gateway.data_dir == Path("/var/lib/gateway")


def test_settings_of_an_installed_gateway_mean_its_data(
    site: Path, cwd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = site / "gateway.toml"
    file.write_text("")
    monkeypatch.setattr("gateway.settings.loading.SYSTEM_CONFIG", file)
    monkeypatch.setattr("gateway.settings.loading.SYSTEM_DATA", tmp_path / "var")
    not_installed = load_settings(file, {}, {}, cwd)
    (tmp_path / "var").mkdir()

    assert not_installed.gateway.data_dir == cwd / "data"
    assert load_settings(file, {}, {}, cwd).gateway.data_dir == tmp_path / "var"
    assert load_settings(file, {"STATE_DIRECTORY": "/srv"}, {}, cwd).gateway.data_dir == Path("/srv")
    assert load_settings(None, {}, {}, cwd).gateway.data_dir == cwd / "data"


def test_a_data_dir_that_was_set_wins_over_the_state_directory(load: Load, site: Path) -> None:
    settings = load('[gateway]\ndata_dir = "here"', environment={"STATE_DIRECTORY": "/var/lib/gateway"})

    assert settings.gateway.data_dir == site / "here"


def test_the_default_model_is_the_packaged_one_wherever_the_settings_file_is(load: Load) -> None:
    path = load("").model.path

    assert path.is_absolute()
    assert path.parts[-3:] == ("config", "models", "fruit")


# --- identity -----------------------------------------------------------------------------------------


def test_the_gateway_is_named_after_its_host_by_default(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "greenhouse-3")

    assert load('[gateway]\nid = ""').gateway.id == "greenhouse-3"


def test_the_azure_samples_variable_sets_the_connection_string(load: Load) -> None:
    text = "HostName=hub.azure-devices.net;DeviceId=gw1;SharedAccessKey=c2VjcmV0"

    settings = load(environment={"IOTHUB_DEVICE_CONNECTION_STRING": text})

    assert settings.cloud.connection_string == text
    assert settings.cloud.configured


def test_settings_are_frozen(load: Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().http.listen = ":1"
