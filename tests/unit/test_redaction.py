"""Secrets out of text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction import is_secret_name, redact

SECRET = "c2VjcmV0+/S="


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (
            f"HostName=h;DeviceId=d;SharedAccessKey={SECRET};GatewayHostName=g",
            "HostName=h;DeviceId=d;SharedAccessKey=***;GatewayHostName=g",
        ),
        (f"sharedaccesskey = {SECRET}", "sharedaccesskey = ***"),
        (f"AccountKey={SECRET};EndpointSuffix=x", "AccountKey=***;EndpointSuffix=x"),
        (
            f"SharedAccessSignature sr=h%2Fdevices%2Fd&sig={SECRET}&se=1700000000",
            "SharedAccessSignature sr=h%2Fdevices%2Fd&sig=***&se=1700000000",
        ),
        (f"https://blob/x?sv=1&sig={SECRET}", "https://blob/x?sv=1&sig=***"),
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer ***"),
        (f"authorization: Basic {SECRET}", "authorization: Basic ***"),
        (f"{{'Authorization': '{SECRET}'}}", "{'Authorization': '***'}"),
        (
            f"Authorization: SharedAccessSignature sr=x&sig={SECRET}",
            "Authorization: SharedAccessSignature sr=x&sig=***",
        ),
        (f"got bearer {SECRET} from it", "got bearer *** from it"),
        (f"Prediction-key: {SECRET}", "Prediction-key: ***"),
        ("http://user:p@ss:w0rd@proxy:3128/x", "http://user:***@proxy:3128/x"),
        ("see mqtts://u:p@h and http://u:q@h", "see mqtts://u:***@h and http://u:***@h"),
    ],
)
def test_a_secret_is_hidden_and_its_surroundings_stay(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "http://proxy:3128/path@place",
        "event_committed sequence=41 device=esp32",
        "the bearer of news",
        "config=1 signal=2 design=3",
        "mail ann@example.org: hello",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=80))
def test_redaction_of_redacted_text_changes_nothing(text: str) -> None:
    once = redact(f"SharedAccessKey={text};sig={text}&http://u:{text}@h")

    assert redact(once) == once


@pytest.mark.parametrize(
    "name",
    ["connection_string", "cloud_connection_string", "password", "Authorization", "sas_token", "shared_access_key"],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["key", "idempotency_key", "connection_string_file", "token_count", "sequence", "event"]
)
def test_names_of_other_things_are_not_taken_for_secrets(name: str) -> None:
    assert not is_secret_name(name)
