"""What a cloud-to-device message asks of a device. Pure.

Two forms. A JSON object: ``{"device_id": "cam-1", "command": "photo", "value": 5, "payload": {...}}`` (``value`` and
``payload`` only where the command needs them). Or application properties ``device_id`` and ``command`` beside a body
of JSON, which is then the payload; an empty body is none.
"""

import json
from collections.abc import Mapping
from typing import Any

from gateway.errors import CommandInvalid, Rejected
from gateway.identifiers import device_id_checked, shortened
from gateway.messages import Command, DeviceCommand

# A command is a word of a profile or of a device's own firmware.
NAME_CHARS_MAX = 64
# What a microcontroller's MQTT client takes without being configured for more, with room for the topic.
PAYLOAD_BYTES_MAX = 16 * 1024
_FORM = 'send {"device_id": "cam-1", "command": "photo"}, or properties device_id and command beside a JSON body'


def parse_device_command(command: Command) -> DeviceCommand:
    """Return what is asked of which device. Raises CommandInvalid with the form that is expected."""
    document = _document(command.body)
    if "device_id" in command.properties:
        fields: Mapping[str, Any] = {**command.properties, **({} if document is None else {"payload": document})}
    elif isinstance(document, dict):
        fields = document
    else:
        raise CommandInvalid(f"the message names no device: {_FORM}")
    return DeviceCommand(
        command_id=command.command_id,
        device_id=_device_id(fields.get("device_id")),
        name=_name(fields.get("command")),
        value=_value(fields.get("value")),
        payload_json=_payload(fields),
    )


def command_body(device_id: str, name: str, value: int | None) -> bytes:
    """Return the JSON form, for commands that are given at the site."""
    fields = {"device_id": device_id, "command": name, **({} if value is None else {"value": value})}
    return json.dumps(fields, separators=(",", ":")).encode()


def _document(body: bytes) -> object:
    if not body:
        return None
    if len(body) > PAYLOAD_BYTES_MAX:
        raise CommandInvalid(f"the message has {len(body)} bytes; at most {PAYLOAD_BYTES_MAX} are passed on")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CommandInvalid(f"the body is not JSON ({error}): {_FORM}") from error


def _device_id(given: object) -> str:
    if not isinstance(given, str):
        raise CommandInvalid(f"device_id is missing or no text: {_FORM}")
    try:
        return device_id_checked(given)
    except Rejected as error:
        raise CommandInvalid(f"{error}; {error.cure}") from error


def _name(given: object) -> str:
    if not isinstance(given, str) or not given or len(given) > NAME_CHARS_MAX or not given.isprintable():
        raise CommandInvalid(f"command is missing or not 1 to {NAME_CHARS_MAX} printable characters: {_FORM}")
    return given


def _value(given: object) -> int | None:
    if given is None or (isinstance(given, int) and not isinstance(given, bool)):
        return given
    if isinstance(given, str) and given.isascii() and given.removeprefix("-").isdigit() and len(given) <= 20:
        return int(given)  # properties are text
    raise CommandInvalid(f"value {shortened(str(given))} is not a whole number")


def _payload(fields: Mapping[str, Any]) -> str | None:
    payload = fields.get("payload")
    if payload is None:
        return None
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
