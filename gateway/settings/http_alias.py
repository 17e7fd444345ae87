"""``[[http.alias]]``: a path that a device has hard-wired, and the answers that it insists on.

What an answer may never be: a success for something that is not on disk. So failures have statuses of 400 and above,
and a text of their own.
"""

import re
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from gateway.settings.forms import invalid
from gateway.settings.section import Section

_PATH = re.compile(r"/(?:[!-~](?<![?#{}])|\{[A-Za-z_][A-Za-z0-9_]{0,31}\})*")
_PLACE = re.compile(r"\{([^{}]*)\}")
_SOURCE = re.compile(r"query\.[!-~]{1,64}|header\.[A-Za-z0-9-]{1,64}|path\.[A-Za-z_][A-Za-z0-9_]{0,31}")
_WITHOUT_BRACES = re.compile(r"(?:query|header|path)\.")
_ID_TEXT = re.compile(r"[A-Za-z0-9._:@-]*")
# The gateway's own: an alias there would take something away from other devices, or from probes.
_RESERVED = ("/v1/", "/customvision/", "/healthz", "/readyz", "/image", "/url")
_PATH_CURE = 'Write it as the device sends it, without the query: "/cgi-bin/upload.cgi", "/cams/{name}/snap.jpg".'
_ID_CURE = 'Write for example "{query.cam}", "gate-{query.cam}", "{header.x-serial}", "{path.name}" or "gate".'

Method = Literal["POST", "PUT", "PATCH", "GET"]


def check_alias_path(text: str) -> str:
    """Accept a path, with ``{name}`` for what differs from device to device."""
    if _PATH.fullmatch(text) is None:
        raise invalid("is not the path of a URL", _PATH_CURE)
    if text == "/" or text.startswith(("/v1/", "/customvision/")) or text in _RESERVED:
        raise invalid(f"{text} is the gateway's own", "Devices may use it as it is: docs/PROTOCOLS.md.")
    return text


def check_alias_device_id(text: str) -> str:
    """Accept a device id, with places that are filled from the request."""
    places = _PLACE.findall(text)
    if any(_SOURCE.fullmatch(place) is None for place in places) or not _ID_TEXT.fullmatch(_PLACE.sub("", text)):
        raise invalid("does not say where the device id comes from", _ID_CURE)
    if _WITHOUT_BRACES.match(text):
        raise invalid(f"would give every device the id {text}", f'Write "{{{text}}}" for what the request says.')
    return text


def check_status(status: int) -> int:
    """Accept a status that HTTP has a name for."""
    if status and status not in HTTPStatus.__members__.values():
        raise invalid(f"{status} is no status of HTTP", "Choose one that is registered, for example 200 or 503.")
    return status


Status = Annotated[int, AfterValidator(check_status)]


class HttpAliasSettings(Section):
    """A path of a device that can't be changed, and the answers that it insists on."""

    path: Annotated[str, AfterValidator(check_alias_path)] = Field(
        default="/upload",
        description='The path that the device calls, without its query: "/cgi-bin/upload.cgi". {name} stands for a '
        'part that differs: "/cams/{name}/snap.jpg".',
    )
    methods: tuple[Method, ...] = Field(default=("POST", "PUT"), min_length=1, description="What it says before it.")
    takes: Literal["image", "readings", "values"] = Field(
        default="image",
        description="image: a picture, raw, in a form or as base64. readings: JSON as on /v1. values: a reading made "
        "of the fields of the query and of a form, ?temp=21.5&hum=40.",
    )
    device_id: Annotated[str, AfterValidator(check_alias_device_id)] = Field(
        default="",
        max_length=256,
        description='Who sends: "{query.cam}" from ?cam=, "gate-{query.cam}", "{header.x-serial}", "{path.name}", or '
        "an id for all. Empty: as on /image.",
    )
    key_query: str = Field(
        default="key",
        min_length=1,
        max_length=64,
        description="The parameter of the query that holds the device's token or password, for devices that can send "
        "no header.",
    )
    status: Status = Field(
        default=200,
        ge=200,
        le=299,
        description="The status that the device takes for success; sent once it is on disk.",
    )
    body: str = Field(default="OK", max_length=4096, description="The text that it waits for then.")
    content_type: str = Field(
        default="text/plain; charset=utf-8",
        max_length=128,
        pattern=r"^[ -~]+$",
        description="The Content-Type of its answers.",
    )
    refused_status: Status = Field(
        default=0,
        le=599,
        description="The status where sending the same again is useless. 0: the one that fits, 400 to 422. Wrong "
        "secrets are always 401.",
    )
    busy_status: Status = Field(
        default=0, le=599, description="The status where it should send the same again later. 0: 503 with Retry-After."
    )
    failure_body: str = Field(
        default="", max_length=4096, description="The text of both. Empty: the reason and the cure, for people."
    )

    @model_validator(mode="after")
    def _never_lies(self) -> "HttpAliasSettings":
        for name in ("refused_status", "busy_status"):
            if 0 < getattr(self, name) < 400:
                raise invalid(f"{name} is a success, for what is not stored", "Choose one from 400 to 599, or 0.")
        if self.body and self.body in self.failure_body:
            raise invalid("failure_body holds the text of success", "Devices search for it: choose another text.")
        if self.status == HTTPStatus.NO_CONTENT and self.body:
            raise invalid("status 204 has no body", 'Set body = "", or status = 200.')
        if "GET" in self.methods and self.takes != "values":
            raise invalid("a GET brings values only", 'Set takes = "values", or take GET out of methods.')
        named = set(_PLACE.findall(self.path))
        missing = [place for place in _PLACE.findall(self.device_id) if place[:5] == "path." and place[5:] not in named]
        if missing:
            raise invalid(f"device_id wants {{{missing[0]}}}, which path does not have", _ID_CURE)
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the parts of the device id come from: ``query.cam``."""
        return tuple(_PLACE.findall(self.device_id))
