"""What a cloud-to-device message asks of a device, and what can't be asked."""

from datetime import UTC, datetime

import pytest

from gateway.device_commands import PAYLOAD_BYTES_MAX, command_body, parse_device_command
from gateway.errors import CommandInvalid
from gateway.messages import Command, DeviceCommand


def command(body: bytes, **properties: str) -> Command:
    return Command(command_id="c-1", received_at=datetime(2026, 5, 4, tzinfo=UTC), body=body, properties=properties)


def test_json_names_device_command_and_value() -> None:
    assert parse_device_command(command(b'{"device_id": "cam-1", "command": "interval", "value": 30}')) == (
        DeviceCommand(command_id="c-1", device_id="cam-1", name="interval", value=30)
    )


def test_properties_name_the_device_and_the_body_is_the_payload() -> None:
    found = parse_device_command(command(b'{"on": true}', device_id="cam-1", command="light", value="5"))
    assert found == DeviceCommand(
        command_id="c-1", device_id="cam-1", name="light", value=5, payload_json='{"on":true}'
    )


def test_what_the_site_gives_is_what_is_understood() -> None:
    found = parse_device_command(command(command_body("cam-1", "photo", None)))
    assert (found.device_id, found.name, found.value) == ("cam-1", "photo", None)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "names no device"),
        (b"photo", "not JSON"),
        (b"[1]", "names no device"),
        (b'{"command": "photo"}', "device_id is missing"),
        (b'{"device_id": "a/b", "command": "photo"}', "'a/b' is not usable"),
        (b'{"device_id": "cam-1"}', "command is missing"),
        (b'{"device_id": "cam-1", "command": "' + b"x" * 65 + b'"}', "1 to 64"),
        (b'{"device_id": "cam-1", "command": "a\\nb"}', "printable"),
        (b'{"device_id": "cam-1", "command": "interval", "value": 1.5}', "not a whole number"),
        (b'{"device_id": "cam-1", "command": "interval", "value": true}', "not a whole number"),
        (b"[" * 100_000, "at most"),
        (b"[" * PAYLOAD_BYTES_MAX, "not JSON"),
        (b"\xff", "not JSON"),
    ],
)
def test_what_can_not_be_told_says_why(body: bytes, told: str) -> None:
    with pytest.raises(CommandInvalid, match=told):
        parse_device_command(command(body))
