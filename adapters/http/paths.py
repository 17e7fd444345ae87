"""Every path template that is served, and the spelling of those that clients spell in several ways. Pure."""

import re

BANNER = "/"
HEALTHZ = "/healthz"
READYZ = "/readyz"

IMAGES = "/v1/devices/{device_id}/images"
READINGS = "/v1/devices/{device_id}/readings"
EVENT = "/v1/devices/{device_id}/events/{submission_id:path}"

_HOSTED = re.compile(r"/customvision/v3\.[0-9]+/[Pp][Rr][Ee][Dd][Ii][Cc][Tt][Ii][Oo][Nn]/")
_HOSTED_CANONICAL = "/customvision/v3.1/prediction/"
_BASES = (
    "/{project}",
    "/{project}/classify/iterations/{name}",
    "/{project}/detect/iterations/{name}",
    f"{_HOSTED_CANONICAL}{{project}}/classify/iterations/{{name}}",
    f"{_HOSTED_CANONICAL}{{project}}/detect/iterations/{{name}}",
)


def canonical_path(path: str) -> str:
    """Return a path of the hosted API in the one spelling that is routed; any other path as it is.

    Its SDKs write ``prediction`` and v3.0 or v3.1, its portal writes ``Prediction``.
    """
    return _HOSTED.sub(_HOSTED_CANONICAL, path, count=1) if path.startswith("/customvision/") else path


def custom_vision_paths(leaf: str) -> tuple[str, ...]:
    """Return every Custom Vision path that ends in ``leaf``, which is ``image`` or ``url``."""
    return (f"/{leaf}", *(f"{base}/{leaf}{tail}" for base in _BASES for tail in ("", "/nostore")))


def is_hosted(path: str) -> bool:
    """Tell whether a path is one of the hosted API, whose SDK parses JSON errors."""
    return path.startswith("/customvision/")


def is_native(path: str) -> bool:
    """Tell whether a path is one of our own API."""
    return path.startswith("/v1/")
