"""Secrets: read from files, told to nobody."""

from pathlib import Path

import pytest

from gateway.settings import SettingsInvalid, describe
from gateway.settings.keys import dotted, leaves
from tests.unit.settings.conftest import Load, Mistakes

KEY = "c2VjcmV0LWtleQ=="
CONNECTION_STRING = f"HostName=hub.azure-devices.net;DeviceId=gw1;SharedAccessKey={KEY}"


@pytest.fixture
def secret_file(site: Path) -> Path:
    file = site / "connection-string"
    file.write_text(f"  {CONNECTION_STRING}\n")
    file.chmod(0o600)
    return file


def test_a_secret_is_read_from_its_file_and_stripped(load: Load, secret_file: Path) -> None:
    settings = load('[cloud]\nconnection_string_file = "connection-string"')

    assert settings.cloud.connection_string == CONNECTION_STRING
    assert settings.warnings == ()


def test_a_proxy_with_its_password_is_read_from_its_file(load: Load, site: Path) -> None:
    (site / "proxy").write_text("http://u:password@proxy:3128\n")

    assert load('[cloud]\nproxy_file = "proxy"').cloud.proxy == "http://u:password@proxy:3128"


def test_a_secret_and_its_file_in_one_source_are_a_mistake(mistakes: Mistakes, secret_file: Path) -> None:
    toml = f'[cloud]\nconnection_string = "{CONNECTION_STRING}"\nconnection_string_file = "{secret_file}"'

    (problem,) = mistakes(toml)

    assert problem.where.endswith(":3")
    assert "cloud.connection_string is given too" in problem.text
    assert "gateway.toml:2" in problem.text


def test_a_secret_of_a_later_source_replaces_the_file_of_an_earlier_one(load: Load) -> None:
    settings = load(
        '[cloud]\nconnection_string_file = "nowhere"',
        environment={"IOTHUB_DEVICE_CONNECTION_STRING": CONNECTION_STRING},
    )

    assert settings.cloud.connection_string == CONNECTION_STRING
    assert settings.cloud.connection_string_file is None


def test_a_secret_file_of_a_later_source_replaces_the_secret_of_an_earlier_one(load: Load, secret_file: Path) -> None:
    settings = load(
        '[cloud]\nconnection_string = "HostName=old"',
        environment={"GATEWAY_CLOUD__CONNECTION_STRING_FILE": str(secret_file)},
    )

    assert settings.cloud.connection_string == CONNECTION_STRING


def test_two_variables_with_different_connection_strings_are_a_mistake(mistakes: Mistakes) -> None:
    (problem,) = mistakes(
        environment={
            "IOTHUB_DEVICE_CONNECTION_STRING": CONNECTION_STRING,
            "GATEWAY_CLOUD__CONNECTION_STRING": CONNECTION_STRING.replace("gw1", "gw2"),
        }
    )

    assert problem.cure == "Set only one of the two."


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "this file can't be read: no such file or directory"),
        (b" \n", "this file is empty"),
        (b"one\ntwo\n", "this file holds more than one line"),
        (b"\xff\xfe", "this file is not text"),
    ],
)
def test_a_secret_file_that_can_not_serve_is_a_mistake(
    mistakes: Mistakes, site: Path, content: bytes | None, text: str
) -> None:
    if content is not None:
        (site / "secret").write_bytes(content)

    (problem,) = mistakes('[cloud]\nconnection_string_file = "secret"')

    assert problem.text == text
    assert problem.where.endswith(":2")


@pytest.mark.parametrize("key", ["connection_string_file", "proxy_file"])
def test_a_secret_that_every_user_can_read_is_a_warning_and_no_mistake(load: Load, site: Path, key: str) -> None:
    (site / "secret").write_text(CONNECTION_STRING if key == "connection_string_file" else "http://u:p@h:1")
    (site / "secret").chmod(0o644)

    (warning,) = load(f'[cloud]\n{key} = "secret"').warnings

    assert warning.key == f"cloud.{key}"
    assert warning.cure == f"Close it: chmod o-rwx {site / 'secret'}"


# --- told to nobody -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "toml",
    [
        f'[cloud]\nconnection_string = "HostName=hub;SharedAccessKey={KEY}"',
        f'[cloud]\nconnection_string = ["{CONNECTION_STRING}"]',
        f'[cloud]\nconection_string = "{CONNECTION_STRING}"',
        f'[http]\nlisten = "{CONNECTION_STRING}"',
        f'[cloud]\nconnection_string = "{CONNECTION_STRING}"\nhostname = "hub"',
        f"[cloud]\nconnection_string = {CONNECTION_STRING}",
        f'[cloud]\nconnection_string = "{KEY}"',
        f'[cloud]\nproxy = "http://user:{KEY}@host"',
        f'[cloud]\nproxy = "user:{KEY}@host:80"',
    ],
)
def test_no_mistake_ever_shows_a_secret(load: Load, toml: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load(toml)

    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value.problems)


def test_no_mistake_about_a_secret_file_shows_its_content(load: Load, site: Path) -> None:
    (site / "secret").write_text(f"HostName=hub;SharedAccessKey={KEY}")

    with pytest.raises(SettingsInvalid) as caught:
        load('[cloud]\nconnection_string_file = "secret"')

    assert "DeviceId" in str(caught.value)
    assert KEY not in str(caught.value)


def test_the_text_of_settings_shows_no_secret(load: Load) -> None:
    settings = load(overrides={"cloud.connection_string": CONNECTION_STRING, "cloud.proxy": f"http://u:{KEY}@h:1"})

    assert KEY not in repr(settings)
    assert KEY not in str(settings.cloud)


# --- describe -----------------------------------------------------------------------------------------


def test_the_listing_has_every_key_once_with_its_origin(load: Load) -> None:
    rows = {
        row.key: row for row in describe(load('[http]\nlisten = ":1"', environment={"GATEWAY_MODEL__WORKERS": "1"}))
    }

    assert list(rows)[:2] == ["gateway.id", "gateway.data_dir"]
    assert list(rows) == [dotted(key) for key in leaves()]
    assert rows["http.listen"].value == '":1"'
    assert rows["http.listen"].origin.endswith("gateway.toml:2")
    assert rows["model.workers"].origin == "environment GATEWAY_MODEL__WORKERS"
    assert rows["gateway.id"].origin == "the host's name"
    assert rows["cloud.window"].origin == "default"


def test_the_listing_shows_which_hub_and_proxy_without_their_secrets(load: Load) -> None:
    settings = load(overrides={"cloud.connection_string": CONNECTION_STRING, "cloud.proxy": f"http://u:{KEY}@proxy:1"})

    rows = {row.key: row.value for row in describe(settings)}

    assert rows["cloud.connection_string"] == '"HostName=hub.azure-devices.net;DeviceId=gw1;SharedAccessKey=***"'
    assert rows["cloud.proxy"] == '"http://u:***@proxy:1"'


def test_the_listing_says_from_which_file_a_secret_came(load: Load, secret_file: Path) -> None:
    settings = load(f'[cloud]\nconnection_string_file = "{secret_file}"')

    (origin,) = (row.origin for row in describe(settings) if row.key == "cloud.connection_string")

    assert origin.endswith("gateway.toml:2 (cloud.connection_string_file)")
