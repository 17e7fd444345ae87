"""The settings of cameras that are asked: ``[camera_pull]`` and a ``[[camera_pull.camera]]`` for each of them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from gateway.settings.forms import check_camera_url, check_fingerprint, check_gateway_id, check_login_name, invalid
from gateway.settings.section import Network, Section
from gateway.web_targets import parse_url

PASSWORD_MARK = "{password}"  # noqa: S105  where it goes in a URL


class PulledCameraSettings(Section):
    """A camera that only answers a snapshot URL."""

    url: Annotated[str, AfterValidator(check_camera_url)] = Field(
        default="",
        description='Its snapshot, or an MJPEG stream: "http://192.168.1.20/snapshot.jpg". {username} and {password} '
        "in it are filled in, for cameras that want them there.",
    )
    device_id: Annotated[str, AfterValidator(check_gateway_id)] = Field(
        default="", description='Who it is in every event. Empty: "camera-" and the host of its URL.'
    )
    interval_s: float = Field(
        default=60, ge=0, le=604_800, description="Seconds between two pictures. 0: only by the command photo."
    )
    timeout_s: float = Field(
        default=10,
        gt=0,
        le=300,
        description="Seconds until its answer begins, and again until the picture is whole. Old cameras take three.",
    )
    auth: Literal["auto", "none", "basic", "digest"] = Field(
        default="auto",
        description="How it is told who asks. auto: as it wants; Digest rather than Basic. digest: never the password "
        "itself.",
    )
    username: Annotated[str, AfterValidator(check_login_name)] = Field(
        default="", max_length=255, description="Login, if it asks for one."
    )
    password_file: Path | None = Field(
        default=None, description="A file that holds its password and nothing else; for the gateway's user only."
    )
    ca_file: Path | None = Field(
        default=None, description="PEM of the authority, or of the camera's own certificate, that https trusts."
    )
    fingerprint: Annotated[str, AfterValidator(check_fingerprint)] = Field(
        default="",
        description="SHA-256 of the one certificate that https accepts, whatever it says of names and dates: "
        "openssl x509 -noout -fingerprint -sha256.",
    )
    verify: bool = Field(
        default=True, description="false: https believes anybody. Every start warns of it; better a fingerprint."
    )
    legacy_tls: bool = Field(
        default=False, description="Also TLS 1.0 and 1.1, and the short keys of their time, which are broken."
    )
    silent_after_s: float | None = Field(
        default=None, gt=0, le=2_592_000, description="Overrides camera_pull.silent_after_s for this one."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> "PulledCameraSettings":
        if not self.url:
            raise invalid("has no url", 'Write for example url = "http://192.168.1.20/snapshot.jpg".')
        if not self.username and (self.password_file is not None or self.auth in {"basic", "digest"}):
            raise invalid("has no username for its login", 'Write for example username = "admin".')
        if PASSWORD_MARK in self.url and self.password_file is None:
            raise invalid("has {password} in its url and no password_file", "Name a file that holds the password.")
        if self.fingerprint and (self.ca_file is not None or not self.verify):
            raise invalid("has a fingerprint beside ca_file or verify = false", "Keep one of them.")
        return self

    @property
    def uses_tls(self) -> bool:
        return self.url.lower().startswith("https:")

    @property
    def effective_device_id(self) -> str:
        """The device id of its events: as set, else made of its host."""
        return self.device_id or f"camera-{parse_url(plain_url(self.url)).host}"[:128]


def plain_url(url: str) -> str:
    """Return ``url`` with harmless text where a login would be filled in: to be taken apart, not to be asked for."""
    return url.replace(PASSWORD_MARK, "x").replace("{username}", "x")


class CameraPullSettings(Section):
    """Cameras that only answer a snapshot URL: the gateway asks them. Each is a [[camera_pull.camera]] below."""

    allowed_networks: tuple[Network, ...] = Field(
        default=(),
        description='Where cameras may be, for example ["192.168.10.0/24"]; nowhere else then. Empty: everywhere but '
        "link-local and cloud metadata addresses, and on this machine only where the URL itself says so.",
    )
    jitter: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="By which part of it an interval is drawn longer or shorter, so that cameras do not come together.",
    )
    skip_unchanged: bool = Field(
        default=True,
        description="Whether a picture that is the last one byte for byte makes no event: the camera shows an old one.",
    )
    at_once_max: int = Field(
        default=8,
        ge=2,
        le=256,
        description="Pictures read or worked on at once; others wait, connected. At most half of them are of cameras "
        "that were slow or failed the last time, so that those delay no other.",
    )
    backoff_max_s: float = Field(
        default=120,
        ge=1,
        le=86_400,
        description="The most seconds until a camera that fails is asked again. A wrong password waits that long at "
        "once: many cameras lock the account after five.",
    )
    silent_after_s: float = Field(
        default=3600,
        gt=0,
        le=2_592_000,
        description="Seconds without a new picture after which a camera is reported as silent.",
    )
    camera: tuple[PulledCameraSettings, ...] = Field(
        default=(),
        max_length=512,
        description="The cameras, each under a heading of its own. In the environment: a JSON array of objects.",
    )
