"""IoT Hub's MQTT topics, and no others. Pure.

Source: "Communicate with an IoT hub using the MQTT protocol". ``client_id`` is ``device`` or ``device/module``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote, unquote

# IoT Hub has no cloud-to-device messages for modules; edgeHub's routes bring messages to a module's inputs.
MODULE_INPUT = "commands"
_METHOD_RESPONSE = "$iothub/methods/res/"
_TWIN_GET = "$iothub/twin/GET/"
_TWIN_REPORTED = "$iothub/twin/PATCH/properties/reported/"
_SHARED_FILTERS = (
    "$iothub/twin/res/#",
    "$iothub/twin/PATCH/properties/desired/#",
    "$iothub/methods/POST/#",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """A device-to-cloud message: ``properties`` as sent, system ones (``$.mid``) included."""

    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinGet:
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinReported:
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodResponse:
    request_id: str
    status: int


Publication = Telemetry | TwinGet | TwinReported | MethodResponse


def resource_path(client_id: str) -> str:
    """Return ``devices/gw1`` or ``devices/gw1/modules/m``: the start of topics and the end of SAS resources."""
    device_id, _, module_id = client_id.partition("/")
    return f"devices/{device_id}/modules/{module_id}" if module_id else f"devices/{device_id}"


def understand(client_id: str, topic: str) -> Publication | None:
    """Return what a publication means, or None for a topic that IoT Hub does not have for this client."""
    telemetry = f"{resource_path(client_id)}/messages/events/"
    if topic.startswith(telemetry):
        return Telemetry(properties=MappingProxyType(property_bag(topic.removeprefix(telemetry))))
    request_id = property_bag(topic.partition("?")[2]).get("$rid", "")
    if topic.startswith(_TWIN_GET):
        return TwinGet(request_id=request_id)
    if topic.startswith(_TWIN_REPORTED):
        return TwinReported(request_id=request_id)
    status = topic.removeprefix(_METHOD_RESPONSE).partition("/")[0]
    if topic.startswith(_METHOD_RESPONSE) and status.isdigit():
        return MethodResponse(request_id=request_id, status=int(status))
    return None


def may_subscribe(client_id: str, topic_filter: str) -> bool:
    """Return whether IoT Hub grants this filter to this client."""
    own = resource_path(client_id)
    return topic_filter in (*_SHARED_FILTERS, f"{own}/messages/devicebound/#", f"{own}/inputs/#")


def cloud_to_device(client_id: str, properties: Mapping[str, str]) -> str:
    """Return the topic of a cloud-to-device message; for a module, of one that edgeHub's routes bring to an input."""
    if "/" in client_id:
        return f"{resource_path(client_id)}/inputs/{MODULE_INPUT}/{_encoded(properties)}"
    to = f"/{resource_path(client_id)}/messages/devicebound"
    bag = {"$.to": to, **properties}
    return f"{resource_path(client_id)}/messages/devicebound/{_encoded(bag)}"


def _encoded(bag: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in bag.items())


def property_bag(text: str) -> dict[str, str]:
    """Return the properties of a topic; ``+`` stays a plus (IoT Hub's bags are not HTML forms)."""
    pairs = (pair.partition("=")[::2] for pair in text.split("&") if pair)
    return {unquote(name): unquote(value) for name, value in pairs}
