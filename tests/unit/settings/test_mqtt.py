"""The settings of MQTT: forms, relations, files."""

from pathlib import Path

import pytest

from gateway.settings import BrokerUrl, Settings, parse_broker_url
from tests.unit.settings.conftest import Load, Mistakes
from tests.unit.settings.test_relations import certificates as certificates  # noqa: PLC0414 -- a fixture

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("url", "means"),
    [
        ("mqtt://broker", BrokerUrl("broker", 1883, tls=False)),
        ("mqtts://broker/", BrokerUrl("broker", 8883, tls=True)),
        ("MQTT://10.0.0.7:1884", BrokerUrl("10.0.0.7", 1884, tls=False)),
        ("mqtts://[fd00::7]", BrokerUrl("fd00::7", 8883, tls=True)),
        ("mqtt://[fd00::7]:1884", BrokerUrl("fd00::7", 1884, tls=False)),
    ],
)
def test_a_brokers_url_means_host_port_and_tls(url: str, means: BrokerUrl) -> None:
    assert parse_broker_url(url) == means


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("broker", "is not the URL of an MQTT broker"),
        ("http://broker", "is not the URL of an MQTT broker"),
        ("mqtt://", "has no usable host"),
        ("mqtt://:1883", "has no usable host"),
        ("mqtt://fd00::7", "has no usable host"),
        ("mqtt://bro ker", "is not the URL of an MQTT broker"),
        ("mqtt://broker:0", "port 0 does not exist"),
        ("mqtt://broker:70000", "port 70000 does not exist"),
        ("mqtt://user:pass@broker", "has a login in it"),
        ("mqtt://broker/path", "is not the URL of an MQTT broker"),
    ],
)
def test_what_is_no_url_of_a_broker_is_told(mistakes: Mistakes, url: str, fault: str) -> None:
    (problem,) = mistakes(f'[mqtt]\nurl = "{url}"')

    assert problem.key == "mqtt.url"
    assert problem.text == fault
    assert problem.cure


def test_an_empty_listen_turns_the_listener_off_and_another_form_is_told(load: Load, mistakes: Mistakes) -> None:
    assert load('[mqtt]\nlisten = ""').mqtt.listen == ""
    assert load(overrides={"mqtt.listen": ""}).mqtt.listen == ""
    (problem,) = mistakes('[mqtt]\nlisten = "1883"')
    assert problem.text == "is a port without a host"


@pytest.mark.parametrize(
    ("toml", "key", "other"),
    [
        ('[mqtt]\nlisten = ":8080"', "mqtt.listen", "http.listen"),
        ('[mqtt]\nlisten = "127.0.0.1:8081"', "admin.listen", "mqtt.listen"),
    ],
)
def test_the_listener_needs_a_port_of_its_own(mistakes: Mistakes, toml: str, key: str, other: str) -> None:
    (problem,) = mistakes(toml)

    assert problem.key == key
    assert other in problem.text


def test_our_own_listener_is_no_broker(mistakes: Mistakes, load: Load) -> None:
    (problem,) = mistakes('[mqtt]\nurl = "mqtt://localhost"')

    assert problem.key == "mqtt.url"
    assert "our own listener" in problem.text
    load('[mqtt]\nurl = "mqtt://localhost"\nlisten = ""')
    load('[mqtt]\nurl = "mqtt://localhost:1884"')
    load('[mqtt]\nurl = "mqtt://broker.example"')


# --- topics -------------------------------------------------------------------------------------------


def test_two_patterns_that_can_match_one_topic_are_a_mistake(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[mqtt.topics]\nreadings = ["+/{device_id}/images"]')

    assert problem.key == "mqtt.topics.readings"
    assert '"+/{device_id}/images" can match the same topic as "devices/{device_id}/images" of images' in problem.text


def test_two_patterns_of_one_list_may_not_meet_either(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[mqtt.topics]\nimages = ["a/{device_id}", "+/{device_id}"]')

    assert problem.key == "mqtt.topics.images"


def test_a_pattern_may_not_match_what_the_gateway_publishes(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[mqtt.topics]\nimages = ["devices/{device_id}/results"]\nreadings = []\nchunks = []')

    assert "which is the gateway's own" in problem.text


def test_a_wrong_pattern_is_told_with_its_own_line(mistakes: Mistakes) -> None:
    (problem,) = mistakes('[mqtt.topics]\nimages = [\n  "a/{device_id}",\n  "b/#",\n]')

    assert problem.where.endswith("gateway.toml:4")
    assert problem.value == '"b/#"'
    assert "depths are exact" in problem.text


def test_patterns_of_other_vendors_are_accepted_from_the_environment(load: Load) -> None:
    settings = load(environment={"GATEWAY_MQTT__TOPICS__IMAGES": "site/+/cam/{device_id},/{device_id}/jpg"})

    assert settings.mqtt.topics.images == ("site/+/cam/{device_id}", "/{device_id}/jpg")


# --- logins and TLS -----------------------------------------------------------------------------------


def test_a_password_needs_a_username(mistakes: Mistakes, load: Load) -> None:
    (problem,) = mistakes('[mqtt]\npassword = "secret"')

    assert problem.key == "mqtt.password"
    assert "secret" not in str(problem)
    assert "secret" not in repr(load('[mqtt]\nusername = "u"\npassword = "secret"'))


def test_a_password_may_stand_in_a_file(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(0o600)

    assert load(f'[mqtt]\nusername = "u"\npassword_file = "{file}"').mqtt.password == "secret"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ("certificate_file", "key_file"),
        ("key_file", "certificate_file"),
        ("listen_certificate_file", "listen_key_file"),
        ("listen_key_file", "listen_certificate_file"),
    ],
)
def test_certificate_and_key_belong_together(mistakes: Mistakes, certificates: Path, given: str, missing: str) -> None:
    file = certificates / ("device.key" if "key" in given else "device.pem")

    (problem,) = mistakes(f'[mqtt]\n{given} = "{file}"')

    assert (problem.key, problem.text) == (f"mqtt.{given}", f"needs {missing} too")


def test_the_key_must_be_that_of_the_certificate(mistakes: Mistakes, certificates: Path) -> None:
    (problem,) = mistakes(
        f'[mqtt]\nlisten_certificate_file = "{certificates}/device.pem"\nlisten_key_file = "{certificates}/other.key"'
    )

    assert (problem.key, problem.text) == ("mqtt.listen_key_file", "is not the key of listen_certificate_file")


def test_an_authority_without_tls_is_a_mistake(mistakes: Mistakes, certificates: Path) -> None:
    (problem,) = mistakes(f'[mqtt]\nurl = "mqtt://broker"\nca_file = "{certificates}/device.pem"')

    assert problem.key == "mqtt.ca_file"
    assert 'url = "mqtts://broker"' in problem.cure


def test_a_credentials_file_that_is_missing_is_told_with_how_to_make_it(mistakes: Mistakes, tmp_path: Path) -> None:
    (problem,) = mistakes(f'[mqtt]\nlisten_credentials_file = "{tmp_path}/devices.txt"')

    assert problem.key == "mqtt.listen_credentials_file"
    assert "mosquitto_passwd -c devices.txt" in problem.cure


def test_a_credentials_file_that_everybody_can_read_is_a_warning(load: Load, tmp_path: Path) -> None:
    file = tmp_path / "devices.txt"
    file.write_text("cam-1:$7$...\n")
    file.chmod(0o644)

    (warning,) = load(f'[mqtt]\nlisten_credentials_file = "{file}"').warnings

    assert warning.key == "mqtt.listen_credentials_file"


# --- what follows from the limits ---------------------------------------------------------------------


def test_the_largest_packet_holds_the_largest_picture_with_its_topic() -> None:
    limits = Settings().limits

    assert limits.mqtt_packet_bytes_max == 8 * MIB + 64 * 1024
    assert limits.mqtt_buffered_bytes_max == 2 * limits.mqtt_packet_bytes_max


@pytest.mark.parametrize("field", ['image_field = ""', 'image_field = "a..b"', 'image_field = ".a"'])
def test_a_field_needs_a_name(mistakes: Mistakes, field: str) -> None:
    (problem,) = mistakes(f"[mqtt]\n{field}")

    assert problem.text == "names no field"


def test_the_fields_of_id_and_time_may_be_left_out(load: Load) -> None:
    mqtt = load('[mqtt]\nid_field = ""\ncaptured_at_field = ""').mqtt

    assert (mqtt.id_field, mqtt.captured_at_field) == ("", "")


@pytest.mark.parametrize("group", ["a/b", "a+", "#", "a b"])
def test_a_share_group_is_one_level(mistakes: Mistakes, group: str) -> None:
    (problem,) = mistakes(f'[mqtt]\nshare_group = "{group}"')

    assert problem.key == "mqtt.share_group"
