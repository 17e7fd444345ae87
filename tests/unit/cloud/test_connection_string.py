from pathlib import Path

import pytest

from gateway.cloud.connection_string import parse_connection_string
from gateway.cloud.identity import X509, SymmetricKey, identity_of
from gateway.settings import CloudSettings

KEY = "c2VjcmV0LWtleS1vZi10ZXN0cw=="
GOOD = f"HostName=hub.azure-devices.net;DeviceId=gw1;SharedAccessKey={KEY}"


def test_a_connection_string_is_taken_apart() -> None:
    parsed = parse_connection_string(GOOD)
    assert (parsed.hostname, parsed.device_id, parsed.shared_access_key) == ("hub.azure-devices.net", "gw1", KEY)


@pytest.mark.parametrize("around", [" {} ", '"{}"', "{};", "{}\n"])
def test_what_copying_adds_is_taken_off(around: str) -> None:
    assert parse_connection_string(around.format(GOOD)).text == GOOD


def test_a_modules_connection_string_is_one_too() -> None:
    parsed = parse_connection_string(GOOD + ";ModuleId=m;GatewayHostName=edge")
    assert (parsed.module_id, parsed.gateway_hostname) == ("m", "edge")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (KEY, "piece 1"),
        ("HostName=h;DeviceId=d", "no SharedAccessKey"),
        ("HostName=h;SharedAccessKey=" + KEY, "no DeviceId"),
        ("DeviceId=d;SharedAccessKey=" + KEY, "no HostName"),
        (GOOD + ";DeviceId=gw2", "DeviceId twice"),
        (GOOD + ";Colour=red", "piece 4"),
        (f"HostName=h;SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}", "the hub's own"),
        ("HostName=h;DeviceId=d;x509=true", "cloud.certificate_file"),
        (GOOD[:-3], "not base64"),
        ("HostName=h;DeviceId=d;SharedAccessKey=", "no SharedAccessKey"),
    ],
)
def test_a_mistake_is_named_without_the_key(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        parse_connection_string(text)
    assert KEY[:8] not in str(error.value)


def test_the_key_is_in_no_repr() -> None:
    assert KEY not in repr(parse_connection_string(GOOD))


def test_a_connection_string_is_the_identity_when_there_is_one() -> None:
    settings = CloudSettings(connection_string=GOOD)
    identity = identity_of(settings)
    assert isinstance(identity, SymmetricKey)
    assert (identity.hostname, identity.device_id) == ("hub.azure-devices.net", "gw1")


def test_a_certificate_is_the_identity_when_its_four_settings_are_there(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    settings = CloudSettings(hostname="h", device_id="d", certificate_file=certificate, key_file=key)
    assert identity_of(settings) == X509(hostname="h", device_id="d", certificate_file=certificate, key_file=key)


def test_no_identity_is_an_error_with_the_cure() -> None:
    with pytest.raises(ValueError, match=r"cloud\.connection_string"):
        identity_of(CloudSettings(hostname="h"))
